"""Carries safe actions out over links of its own: the guardian's and `pib-lab safe`'s only way to a device."""

from __future__ import annotations

import importlib
import math
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from drivers.safe.commands import Outcome, Ramp, ReadBack, SafeAction
from drivers.safe.links import ByteLink, open_link, prepare_link
from drivers.wire.dialects import SCPI, TSP
from pib_lab.errors import DeviceError, LinkError, PibError

BOUND_S = 3.0
"""No new attempt on a device is begun after this; the one that goes on then is bounded by its links' time-outs."""

RETRY_S = 0.05
"""Between attempts: an instrument may need a moment to drop the dead process's connection."""

_SILENCE_S = 0.02
_BOARD_BAUD, _LINE_BAUD = 115200, 9600
"""Of serial ports whose address names no rate, as `drivers.board.ports` and `drivers.wire` open them."""
_LATE_ANSWERS = 64
_RAMP_STEPS = 5
_RAMP_STEP_S = 0.005

BLINDLY = "commanded off blindly: it may have heard, nobody has read it back"
"""What is said of a device whose answers were lost."""

Tell = Callable[[Outcome], None]


class _StrangerError(DeviceError):
    """Another instrument answers at the address."""


def prepare(action: SafeAction) -> None:
    """Import now what carrying it out will need, so that no time is lost then. Raises ConfigurationError for an address
    of no known form."""
    prepare_link(action.address)
    if action.kind == "board":
        importlib.import_module("drivers.safe.board")


def carry_out_all(actions: Iterable[SafeAction], tell: Tell = lambda outcome: None) -> list[Outcome]:
    """Make every device safe: stage by stage, the devices of a stage at the same time. `tell` hears of each at once.

    Outcomes come in the order of the stages, and within a stage in that of `actions`, whichever was done first.
    A later stage is not held back by what was not confirmed in an earlier one: a matrix that opens is then the last way
    to take a source off the chip. What was not confirmed is tried once more when all others are off, for a link that
    was dropped may be back by then; `tell` hears of it again. Never raises.
    """
    stages: dict[int, list[SafeAction]] = defaultdict(list)
    for action in actions:
        stages[action.stage].append(action)
    outcomes: list[Outcome] = []
    for stage in sorted(stages):
        outcomes += _at_once(stages[stage], tell)
    ordered = [action for stage in sorted(stages) for action in stages[stage]]
    left = [number for number, outcome in enumerate(outcomes) if not outcome.safe]
    for number, outcome in zip(left, _at_once([ordered[number] for number in left], tell), strict=True):
        outcomes[number] = outcome
    return outcomes


def _at_once(actions: Sequence[SafeAction], tell: Tell) -> list[Outcome]:
    done: dict[int, Outcome] = {}
    lock = threading.Lock()

    def work(number: int) -> None:
        outcome = carry_out(actions[number])
        with lock:
            done[number] = outcome
            tell(outcome)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [done[number] for number in range(len(actions))]


def carry_out(action: SafeAction, bound_s: float = BOUND_S) -> Outcome:
    """Make one device safe, with a fresh link for each attempt, until all is read back off or time is up.

    What was read back off in one attempt and cannot be asked in the next one counts as not confirmed. A device that in
    the end does not answer may still hear: unless another one has answered in its place it is commanded once more
    without being asked anything, and not confirmed all the same. Never raises.
    """
    began_s = time.monotonic()
    attempts = 0
    stranger = False
    while True:
        attempts += 1
        unanswered = False
        try:
            on, detail = _attempt(action)
        except PibError as problem:
            on, detail = action.names, str(problem)
            unanswered, stranger = isinstance(problem, LinkError), stranger or isinstance(problem, _StrangerError)
        except Exception as problem:  # a device must never keep the next one from being commanded
            on, detail = action.names, f"{type(problem).__name__}: {problem}"
        elapsed_s = time.monotonic() - began_s
        if not on or elapsed_s + RETRY_S >= bound_s:
            if unanswered and not stranger and command_blindly(action):
                detail = f"{detail}; {BLINDLY}"
            confirmed = tuple(name for name in action.names if name not in on)
            return Outcome(action.device, action.address, confirmed, on, detail, attempts, elapsed_s)
        time.sleep(RETRY_S)


def command_blindly(action: SafeAction) -> bool:
    """Over a fresh link abort, set levels to zero at once, switch off; nothing is asked. True when all could be sent.

    The last resort for a device whose answers are lost. Its identity is not known then. Never raises.
    """
    try:
        link = _open(action)
    except Exception:  # it cannot be connected: whoever asks for this knows already
        return False
    try:
        if action.kind == "board":
            from drivers.safe.board import send_off

            send_off(link)
        else:
            device = _Messages(link, action)
            zero = [ramp.command.format(level=0.0) for ramp in action.ramps]
            for message in ("", *action.clear, *zero, *action.commands):  # the empty one ends what was half sent
                device.send(message)
        link.discard(_SILENCE_S)  # some drop what they have not read yet when a link is closed at once
    except Exception:
        return False
    finally:
        link.close()
    return True


def _open(action: SafeAction) -> ByteLink:
    return open_link(action.address, _BOARD_BAUD if action.kind == "board" else _LINE_BAUD)


def _attempt(action: SafeAction) -> tuple[tuple[str, ...], str]:
    """The outputs that were not read back off, and what was answered instead. Raises LinkError, DeviceError."""
    link = _open(action)
    try:
        if action.kind == "board":
            from drivers.safe.board import switch_board_off

            return switch_board_off(link, action.outputs)
        return _command_off(_Messages(link, action), action)
    finally:
        link.close()


def _command_off(device: _Messages, action: SafeAction) -> tuple[tuple[str, ...], str]:
    device.settle()
    if action.identity and not re.search(action.identity, answer := device.ask("*IDN?")):
        if not (answer.isascii() and answer.isprintable()):
            raise LinkError(f"{action.address}: {answer[:40]!r} came where its identity was asked for")
        raise _StrangerError(f"{action.address}: {answer!r} answers there instead; nothing was commanded")
    for command in action.clear:
        device.send(command)
    for ramp in action.ramps:
        _ramp_down(device, ramp)
    for command in action.commands:
        device.send(command)
    wrong = [
        (check.output, answer) for check in action.read_back if not _is_off(check, answer := device.ask(check.query))
    ]
    detail = "; ".join(f"{output} answers {answer!r}" for output, answer in wrong)
    return tuple(output for output, _ in wrong), detail


def _ramp_down(device: _Messages, ramp: Ramp) -> None:
    """To zero in a few steps. A level that cannot be read is left: switching off must not wait for it."""
    try:
        level = float(device.ask(ramp.query))
    except ValueError:
        return
    if level == 0.0 or not math.isfinite(level):
        return
    for left in range(_RAMP_STEPS - 1, -1, -1):
        device.send(ramp.command.format(level=level * left / _RAMP_STEPS))
        time.sleep(_RAMP_STEP_S)


def _is_off(check: ReadBack, answer: str) -> bool:
    if answer in check.expected:
        return True
    try:
        number = float(answer)
    except ValueError:
        return False
    return any(number == wanted for wanted in map(_number, check.expected))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class _Messages:
    """Lines of text over a link."""

    def __init__(self, link: ByteLink, action: SafeAction) -> None:
        self._link = link
        self._end = action.terminator.encode()
        self._marker = (TSP if action.kind == "tsp" else SCPI).marker

    def settle(self) -> None:
        """End what the dead process may have half sent, and throw away what it did not read, however late it comes."""
        self._link.send(self._end)
        self._link.discard(_SILENCE_S)
        if not self._link.fresh:
            query, answer = self._marker()
            self.send(query)
            if not any(self._answer() == answer for _ in range(_LATE_ANSWERS)):
                raise LinkError(f"{query!r} is not answered: older answers come without end")

    def send(self, message: str) -> None:
        self._link.send(message.encode() + self._end)

    def ask(self, query: str) -> str:
        if unasked := self._link.unasked():  # then it is not known which answer is whose, and none is believed
            raise LinkError(f"{unasked[:40]!r} came without having been asked for")
        self.send(query)
        return self._answer()

    def _answer(self) -> str:
        return self._link.receive(self._end).decode("ascii", errors="replace").strip()
