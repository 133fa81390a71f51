"""One layer of an optical network: drives become phases, a mask is added, regions of the camera's frame answer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from drivers.device import DeviceSession
from drivers.optics.camera import Pixels
from drivers.optics.encoder import make_encoder
from drivers.optics.lut import TURN
from drivers.optics.reference import Reference, reference_phases
from drivers.optics.regions import Regions
from drivers.optics.rig import Rig, mean_dark
from drivers.optics.rig_options import EncoderOptions, RigOptions
from drivers.optics.slm import Gray
from pib_lab.capabilities import UnitCosts
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError, LimitError
from pib_lab.experiment import check_options
from pib_lab.frames import CameraFrame
from pib_lab.quantities import Array, Counts, Mask, Quantity
from pib_lab.unit import CancelToken, Measurement, SafeReport, UnitSpec

LIGHT = "light"
"""The one output: the beam, behind the shutter."""

_UNIT_OPTIONS = ("drive_limit_rad", "depth_rad", "encoder", "grid", "encoder_seed", "wrap")


class OpticalUnit:
    """response[r] = mean counts of region r for the pattern (encoder(drive) + mask) modulo 2 pi, less the dark counts.

    Parameters are the mask's phases (grid rows, grid columns). Programming a mask shows nothing and wears nothing out:
    it is part of every pattern that follows. Where a pattern wraps at 2 pi, crosstalk drags the neighbours along by a
    turn, so the mask is kept within what no drive takes beyond 2 pi; with `wrap` it is periodic, 0 to 2 pi.
    """

    def __init__(
        self,
        session: DeviceSession[Rig],
        options: RigOptions,
        panel: tuple[tuple[int, int], int],
        request: UnitRequest,
        context: DeviceContext,
    ) -> None:
        where = f"units.{request.name}.options"
        check_options(dict(request.options), _UNIT_OPTIONS, where)
        encoder = _encoder_options(options.encoder, request.options, where)
        self._grid = encoder.grid
        self._repeat = _repeats(panel[0], encoder.grid, request.name)
        self._encoder = make_encoder(encoder.kind, request.inputs, encoder.grid, encoder.seed)
        self._session, self._options, self._context = session, options, context
        self._regions: Regions | None = None
        self._dark: Array = np.zeros(request.outputs, np.float32)
        self._mask: Array = np.zeros(encoder.grid, np.float32)
        self._reference = Reference()
        self._bad: Counts = np.zeros((0, 2), np.int32)
        self._seen: CameraFrame | None = None
        depth_rad = min(encoder.depth_rad, float(request.options.get("drive_limit_rad", math.inf)))
        if not depth_rad > 0.0:
            raise ConfigurationError(f"unit {request.name}: the limit of the drive must be positive")
        self._spec = UnitSpec(
            name=request.name,
            drive=Quantity("rad", (request.inputs,), 0.0, depth_rad),
            response=Quantity("counts", (request.outputs,)),
            parameters=_mask_phases(encoder, depth_rad, panel[1], request.name),
            settle_s=options.settle_s or 0.0,
        )

    # PhysicalUnit

    @property
    def spec(self) -> UnitSpec:
        """Drive in rad (n_in,), response in counts (regions,), mask in rad (rows, columns)."""
        return self._spec

    def open(self) -> None:
        """Connect, as one of the units that share the rig; the light stays off.

        Raises DeviceError, LinkError; ConfigurationError when regions or calibrations do not fit the camera's frame.
        """
        name = self._spec.name
        self._session.open(name)
        try:
            with self._session.link(name) as rig:
                self._fit(rig)
        except BaseException:
            self._session.close(name)
            raise

    def _fit(self, rig: Rig) -> None:
        count, size, bad, dark = self._spec.response.size, self._options.regions.size, None, None
        if self._options.dark is not None:
            dark, bad = mean_dark(self._options.dark, rig.camera.shape)
        self._regions = Regions(count, size, rig.camera.shape, bad)
        self._bad = np.zeros((0, 2), np.int32) if bad is None else np.argwhere(bad).astype(np.int32)
        self._seen = None
        if dark is not None and self._options.background:
            self._dark = self._regions.means(dark[None])[0]

    def close(self) -> None:
        """Let go of the unit; the last one to close lets go of the rig, which closes its shutter first."""
        self._session.close(self._spec.name)

    def make_safe(self) -> SafeReport:
        """Close the shutter and read it back, then show the dump pattern. The light is confirmed off by the shutter."""
        name = self._spec.name
        try:
            with self._session.link(name) as rig:
                dark, detail = light_off(rig)
        except DeviceError as problem:  # not open, or somebody else holds the rig: nothing was read back
            return SafeReport(name, (), (LIGHT,), str(problem))
        return SafeReport(name, (LIGHT,), (), detail) if dark else SafeReport(name, (), (LIGHT,), detail)

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        """Mean counts (batch, regions) for drives (batch, n_in) in rad.

        Raises LimitError beyond the drive's depth, DeviceError when not open or a frame fails again and again,
        LinkError for a camera that is silent, Cancelled between frames.
        """
        return self._measure(drive, None, cancel)

    def _measure(self, drive: Array, shift: Array | None, cancel: CancelToken) -> Measurement:
        name, drive = self._spec.name, np.asarray(drive, np.float32)
        self._spec.drive.check_batch(drive, f"{name}: drive")
        values = np.empty((len(drive), *self._spec.response.shape), np.float32)
        saturated = np.zeros(values.shape, np.bool_)
        with self._session.link(name) as rig:
            started_s = self._context.clock.now_s()
            regions = self._regions
            if regions is None:
                raise DeviceError(f"{name}: not open; call open() first")

            def take(start: int, pixels: Pixels, clipped: Mask) -> None:
                stop = start + len(pixels)
                values[start:stop] = regions.means(pixels) - self._dark
                saturated[start:stop] = regions.any_true(clipped)
                last = pixels[0] if len(pixels) == 1 else pixels[-1].copy()  # no block is kept for its last frame
                self._seen = CameraFrame(last, rig.saturated_level, regions.boxes, self._bad)

            def patterns(start: int, stop: int) -> Gray:
                mask = self._mask if shift is None else self._mask + shift[start:stop]
                return self._gray(rig, drive[start:stop], mask)

            passes = rig.expose(patterns, len(drive), take, cancel)
            return Measurement(values, saturated, passes, started_s, self._context.clock.now_s())

    def _gray(self, rig: Rig, drive: Array, mask: Array) -> Gray:
        """Gray levels (batch, rows, columns) of the whole panel; mask: one for all, or one a sample."""
        return self._whole(rig.lut.to_gray(self._encoder.phases(drive) + mask))

    def _whole(self, gray: Gray) -> Gray:
        """The panel's gray levels from those of macro pixels (batch, grid rows, grid columns)."""
        down, across = self._repeat
        return np.asarray(gray.repeat(down, axis=1).repeat(across, axis=2))

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        """Take mask phases (rows, columns) where `where`; returns the mask, which the panel holds from the next pattern
        on to within a gray level.

        Raises LimitError beyond the limits, ConfigurationError for a wrong shape, DeviceError when not open.
        """
        shape = self._spec.parameters.shape
        parameters = np.asarray(parameters, np.float32)
        if parameters.shape != shape or (where is not None and where.shape != shape):
            raise ConfigurationError(f"{self._spec.name}: mask phases must have the shape {shape}")
        wanted = parameters if where is None else parameters[where]
        self._spec.parameters.check_limits(wanted, f"{self._spec.name}: mask phases")
        with self._session.link(self._spec.name):
            self._mask = parameters.copy() if where is None else np.where(where, parameters, self._mask)
        return self._mask.copy()

    # Capabilities

    def last_frame(self) -> CameraFrame | None:
        """What the camera saw of the last pattern that was measured."""
        return self._seen

    def phase_period(self) -> float:
        """2 pi: a response is a sinusoid in each macro pixel's phase, as far as crosstalk and the table allow."""
        return TURN

    def health(self, *, cancel: CancelToken, renew: bool = False) -> tuple[float, int]:
        """Correlation of the **intensities** of a reference pattern's frame, without the mask, with the one kept."""
        with self._session.link(self._spec.name) as rig:
            gray = self._whole(rig.lut.to_gray(reference_phases(self._grid))[None])[0]
            return self._reference.compare(rig, gray, renew, cancel)

    def measure_shifted(self, drive: Array, shift: Array, *, cancel: CancelToken) -> Measurement:
        """As `measure`, sample i with the mask + shift[i]; shift (batch, grid rows, grid columns) in rad, of any size.

        Raises what `measure` raises, ConfigurationError for shifts of another shape, LimitError for one that is not a
        finite number; the mask stays as it is.
        """
        shift, wanted = np.asarray(shift, np.float32), (len(drive), *self._spec.parameters.shape)
        if shift.shape != wanted:
            raise ConfigurationError(f"{self._spec.name}: shifts of shape {shift.shape} do not fit {wanted}")
        if not np.isfinite(shift).all():
            raise LimitError(f"{self._spec.name}: shifts hold values that are not finite numbers; nothing was shown")
        return self._measure(drive, shift, cancel)

    def device_name(self) -> str:
        """The rig's name in the protocol."""
        return self._context.name

    def how(self) -> str:
        """What the camera sees and what of it is a response."""
        size, o = self._options.regions.size, self._options
        less = ", less the dark frame" if o.dark is not None and o.background else ""
        return f"mean counts of {self._spec.response.size} camera regions of {size} x {size} pixels{less}"

    def initial_parameters(self, rng: np.random.Generator, scale: float) -> Array:
        """Normal phases, standard deviation `scale` of the range: around its middle and clipped to it, or with `wrap`
        around pi / 2 and round (uniform from a scale of 0.3 on).

        Flat rather than random: the image that was put on the panel is then not scrambled before it is learned from.
        """
        phases = self._spec.parameters
        if phases.periodic:
            return np.asarray(np.mod(rng.normal(0.25, scale, self._grid), 1.0) * TURN, np.float32)
        return np.asarray(np.clip(rng.normal(0.5, scale, self._grid), 0.0, 1.0) * phases.high, np.float32)

    def costs(self) -> UnitCosts:
        """Time of a frame, settling included; a mask costs nothing."""
        o = self._options
        frame_s = (o.settle_s or 0.0) + o.exposure_s + o.hold_s
        return UnitCosts(frame_s, 0.0, 0.0, 0, 0, 0)


def _encoder_options(rig: EncoderOptions, options: Mapping[str, object], where: str) -> EncoderOptions:
    """The rig's, with what the unit's own options put in their place."""
    names = {"depth_rad": "depth_rad", "encoder": "kind", "grid": "grid", "encoder_seed": "seed", "wrap": "wrap"}
    changed = {field: options[name] for name, field in names.items() if name in options}
    try:
        return EncoderOptions.model_validate({**rig.model_dump(), **changed})
    except ValueError as problem:
        raise ConfigurationError(f"{where}: {problem}") from None


def _mask_phases(encoder: EncoderOptions, depth_rad: float, levels: int, name: str) -> Quantity:
    """Raises ConfigurationError where no phase of the mask keeps all drives from wrapping."""
    step_rad = TURN / levels
    if encoder.wrap or encoder.kind != "macro-pixels":  # a projection's phases may have any sign and sum
        return Quantity("rad", encoder.grid, 0.0, TURN, step_rad, periodic=True)
    most_rad = TURN - depth_rad - step_rad
    if most_rad < step_rad:
        raise ConfigurationError(
            f"unit {name}: a drive of up to {depth_rad:.4g} rad leaves the mask no phases that stay below 2 pi; "
            "choose a smaller depth_rad, or wrap = true"
        )
    return Quantity("rad", encoder.grid, 0.0, most_rad, step_rad)


def _repeats(panel: tuple[int, int], grid: tuple[int, int], name: str) -> tuple[int, int]:
    down, across = panel[0] // grid[0], panel[1] // grid[1]
    if down * grid[0] != panel[0] or across * grid[1] != panel[1] or not (down and across):
        raise ConfigurationError(
            f"unit {name}: a grid of {grid[0]} x {grid[1]} macro pixels does not divide the panel of "
            f"{panel[0]} x {panel[1]} pixels"
        )
    return down, across


def light_off(rig: Rig) -> tuple[bool, str]:
    """Whether the shutter was read back closed, and what went wrong. The dump pattern is shown whatever it answers."""
    problems, dark = [], False
    try:
        dark = rig.make_dark()
        if not dark:
            problems.append(f"{rig.shutter.name} did not read back closed; block the beam by hand")
    except DeviceError as problem:
        problems.append(str(problem))
    try:
        rig.slm.park()
    except DeviceError as problem:
        problems.append(str(problem))
    return dark, "; ".join(problems)
