"""Where a run stands: what an operator asks for is obeyed here, between two steps."""

from __future__ import annotations

from collections.abc import Callable

from pib_lab.accounts import Accounts
from pib_lab.control import Commands
from pib_lab.events import StateChanged
from pib_lab.records import RunState


class RunStates:
    """The state of one run; every change is published, and seconds count as work while it is running."""

    def __init__(self, commands: Commands, accounts: Accounts, publish: Callable[[StateChanged], None]):
        self.now = RunState.IDLE
        self._commands, self._accounts, self._publish = commands, accounts, publish

    def to(self, state: RunState, step: int, reason: str = "") -> None:
        """Move to another state, after `step`."""
        self.now = state
        if state is RunState.RUNNING:
            self._accounts.watch.go()
        else:  # a pause is no work
            self._accounts.watch.hold()
        self._publish(StateChanged(state, step, reason))

    def obey(self, step: int) -> bool:
        """Carry out waiting commands after `step`, and wait while paused; False to end the run."""
        verb = self._commands.take()
        while verb is not None or self.now is RunState.PAUSED:
            if verb in ("abort", "safe"):
                self.to(RunState.ABORTING, step, f"{verb} asked for")
                return False
            if verb == "pause" and self.now is RunState.RUNNING:
                self.to(RunState.PAUSED, step)
            elif verb == "resume" and self.now is RunState.PAUSED:
                self.to(RunState.RUNNING, step)
            verb = self._commands.take(wait=self.now is RunState.PAUSED)
        return True
