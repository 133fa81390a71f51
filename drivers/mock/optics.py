"""The simulated optical bench: laser, shutter, phase panel, medium and camera on one clock.

Frame by frame (`show`, then `frame`) or many patterns at once (`expose`): both go through the same steps.
Equations: docs/mock-optics.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drivers.mock.optics_camera import Detector
from drivers.mock.optics_medium import make_medium
from drivers.mock.optics_profile import OpticsProfile
from drivers.mock.optics_slm import PhasePanel
from drivers.optics.camera import Pixels
from drivers.optics.slm import Gray, check_gray
from pib_lab.device import Clock
from pib_lab.errors import ConfigurationError
from pib_lab.quantities import Array, Array64
from pib_lab.unit import State

CHUNK = 64
"""Frames computed together: enough for the matrix product, few enough to stay in the cache."""


class OpticalBench:
    """Physics and truth of one bench, drawn from `seeds`; time zero of drift and warm-up is the clock's time when made.

    shutter_open: whether light reaches the panel; a bench is made with its shutter closed.
    """

    def __init__(self, profile: OpticsProfile, seeds: Sequence[int], clock: Clock) -> None:
        self.profile, self.clock = profile, clock
        self.shutter_open = False
        self._origin_s = clock.now_s()
        panel, medium, camera, lived = np.random.SeedSequence(list(seeds)).spawn(4)
        self.panel = PhasePanel(profile, self._origin_s, _generator(panel))
        self.medium = make_medium(profile, self._origin_s, medium)
        self.detector = Detector(profile, _generator(camera))
        self._rng = _generator(lived)
        self._identity = f"{list(seeds)} {profile.model_dump_json()}"

    def show(self, gray: Gray, at_s: float) -> None:
        """Hand a pattern (rows, columns) to the panel at a time. Raises LimitError for one that it does not have."""
        check_gray(gray, self.profile.panel_shape, self.profile.panel_levels, "mock panel")
        self.panel.show(self.panel.steady(gray[None])[0], at_s)

    def frame(self, exposure_s: float, start_s: float, e_per_count: float | None = None) -> Pixels:
        """Counts (camera rows, camera columns) of one exposure that starts at `start_s`.

        Raises DeviceError when too many patterns were shown since.
        """
        phase_rad = self.panel.phase_at(start_s + 0.5 * exposure_s)
        return np.asarray(self._capture(phase_rad[None], np.array([start_s]), exposure_s, e_per_count)[0])

    def expose(
        self,
        gray: Gray,
        *,
        exposure_s: float,
        start_s: float,
        period_s: float,
        delay_s: float,
        e_per_count: float | None = None,
    ) -> Pixels:
        """Counts (batch, camera rows, camera columns) of many patterns (batch, rows, columns).

        Pattern k is handed over at start_s + k period_s and exposed from `delay_s` later on for `exposure_s`. As
        `show` and `frame` one after the other: to one count when noise is off. Raises LimitError as `show` does.
        """
        check_gray(gray, self.profile.panel_shape, self.profile.panel_levels, "mock panel")
        target = self.panel.steady(gray)
        shown_s: Array64 = start_s + period_s * np.arange(len(target), dtype=np.float64)
        phase_rad = self.panel.show_all(target, shown_s, shown_s + delay_s + 0.5 * exposure_s)
        return self._capture(phase_rad, shown_s + delay_s, exposure_s, e_per_count)

    def true_intensity(self, phase_rad: Array64, at_s: float) -> Array64:
        """Relative intensities (batch, camera rows, camera columns) of any phases (batch, rows, columns) in rad.

        Settled, without flicker, noise or rounding, in double precision; dead pixels and crosstalk included. `at_s`:
        the medium goes on to that time.
        """
        self.medium.advance(self.medium.index_at(at_s))
        field = self.medium.fields(self.panel.field(self.panel.blur(np.asarray(phase_rad, np.float64))))
        return np.asarray(field.real**2 + field.imag**2)

    def power(self, at_s: Array64) -> Array64:
        """Laser power over its final one at times (batch,): 1 + warmup_fraction exp(-t / warmup_s)."""
        p = self.profile
        return np.asarray(1.0 + p.warmup_fraction * np.exp(-np.maximum(at_s - self._origin_s, 0.0) / p.warmup_s))

    def _capture(self, phase_rad: Array, from_s: Array64, exposure_s: float, e_per_count: float | None) -> Pixels:
        """Counts of frames with panel phases (batch, n) exposed from `from_s` (batch,) on."""
        p = self.profile
        middle_s = from_s + 0.5 * exposure_s
        phase_rad = phase_rad * self.panel.flicker(from_s, exposure_s).astype(np.float32)[:, None]
        power = self.power(middle_s) if self.shutter_open else np.zeros(len(from_s))
        states = [self.medium.index_at(float(time_s)) for time_s in middle_s]
        counts = np.empty((len(phase_rad), *p.camera_shape), np.uint16)
        start = 0
        while start < len(states):
            stop = start + 1
            while stop < min(len(states), start + CHUNK) and states[stop] == states[start]:
                stop += 1
            self.medium.advance(states[start])
            field = self.medium.fields(self.panel.field(phase_rad[start:stop]))
            intensity = np.asarray(field.real**2 + field.imag**2, np.float32)
            light = power[start:stop]
            if p.power_noise > 0.0:
                light = light * np.maximum(1.0 + p.power_noise * self._rng.standard_normal(stop - start), 0.0)
            intensity *= light.astype(np.float32)[:, None, None]
            counts[start:stop] = self.detector.counts(intensity, exposure_s, e_per_count or p.e_per_count, self._rng)
            start = stop
        return counts

    def snapshot(self) -> State:
        """All that has changed since the bench was made: phases, medium, noise, shutter."""
        return {
            **self.panel.snapshot(),
            **self.medium.snapshot(),
            "shutter_open": int(self.shutter_open),
            "rng": np.array(self._rng.bit_generator.state["state"]["state"], np.uint64),
            "origin_s": self._origin_s,
            "identity": self._identity,
        }

    def restore(self, state: State) -> None:
        """Go back to a snapshot of this very bench; the clock is the lab's. Raises ConfigurationError for another's."""
        if state["identity"] != self._identity:
            raise ConfigurationError("optical bench: the snapshot is of another bench; use the same seed and profile")
        self.panel.restore(state)
        self.medium.restore(state)
        self.shutter_open = bool(state["shutter_open"])
        self._origin_s = float(np.asarray(state["origin_s"]))
        whole = self._rng.bit_generator.state
        whole["state"]["state"] = np.array(state["rng"], np.uint64)
        self._rng.bit_generator.state = whole


def _generator(seed: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))
