"""Data sets in memory: features in [0, 1], labels 0 to classes - 1, and three splits that never share a sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data import archives
from data.archives import Raw, RawArrays
from pib_lab.errors import ConfigurationError, nearest
from pib_lab.experiment import Dataset
from pib_lab.quantities import Array, Labels

TEST_FRACTION = 0.2  # of a data set that comes without a test split of its own
_TEST_SEED = 20_220_613  # fixed: results of runs with different seeds are about the same test samples
_STREAM = 0xDA7A  # keeps this stream of random numbers apart from others that are drawn from the same run seed

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """Samples: x (n, features) in [0, 1], y (n,) class indices."""

    x: Array
    y: Labels

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.y)


@dataclass(frozen=True, eq=False, slots=True)
class DataSet:
    """A data set, split. `shape` is one sample's shape before flattening, such as (8, 8): for display."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    features: int
    shape: tuple[int, ...]


def load(config: Dataset, seed: int, data_dir: Path | None = None) -> DataSet:
    """Load `config.name`: "digits" (embedded), "mnist", or `NAME.npz` or a folder `NAME/` of IDX files.

    Files are looked for in `data_dir`, or else the folder named by PIB_LAB_DATA, then in the user's cache; MNIST is
    downloaded when it is nowhere. The test split is the file's own, or else a fixed stratified fifth. Validation and
    training samples are drawn from the rest by `seed`, stratified as well, whatever `config.limit` is.

    Raises ConfigurationError for a data set that cannot be found, read or learned from.
    """
    raw = _raw_arrays(config.name, data_dir)
    _check(raw.x, raw.y, raw.source)
    if config.classes is not None:
        raw = _of_classes(raw, config.classes)
    known, y = np.unique(raw.y, return_inverse=True)
    if len(known) < 2:
        raise ConfigurationError(f"{raw.source}: all labels are {known[0]}; learning needs two classes or more")

    rest: Indices = np.arange(len(y))
    if raw.x_test is None or raw.y_test is None:
        order = _stratified_order(y, np.random.default_rng(_TEST_SEED))
        chosen, rest = np.split(order, [_count(len(y), TEST_FRACTION)])
        x_test, y_test = raw.x[chosen], y[chosen]
    else:
        _check(raw.x_test, raw.y_test, f"{raw.source} (test)")
        _check_same_kind(raw, known)
        x_test, y_test = raw.x_test, np.searchsorted(known, raw.y_test)

    rest = rest[_stratified_order(y[rest], np.random.default_rng((seed, _STREAM)))]
    validation, train = np.split(rest, [_count(len(rest), config.validation)])
    scale = _scaling(raw.x[train])
    train = train[: config.limit]
    if len(np.unique(y[train])) < 2:
        raise ConfigurationError(
            f"dataset: {len(train)} training samples of {config.name} do not show two classes; "
            "raise dataset.limit or lower dataset.validation"
        )
    shape = _shape(raw.x.shape[1:], config.resolution)

    def split(samples: Raw, labels: Labels) -> Split:
        return Split(_features(samples, scale, config.resolution), labels.astype(np.int64))

    return DataSet(
        name=config.name,
        train=split(raw.x[train], y[train]),
        validation=split(raw.x[validation], y[validation]),
        test=split(x_test, y_test),
        classes=len(known),
        features=math.prod(shape),
        shape=shape,
    )


def _raw_arrays(name: str, data_dir: Path | None) -> RawArrays:
    if name == "digits":
        from sklearn.datasets import load_digits  # costs a second, so only those who ask for digits pay it

        bunch = load_digits()
        return RawArrays("digits", bunch.images / 16.0, bunch.target)
    if not name or Path(name).name != name:
        raise ConfigurationError(f"dataset.name: {name!r} is not a plain name; name its folder by --data-dir")
    folders = archives.search_folders(data_dir)
    path = archives.locate(name, folders)
    downloads = archives.cache_folder() / "mnist"
    if name == "mnist" and path in (None, downloads):
        path = archives.download_mnist(downloads)  # completes a download that was interrupted, too
    if path is None:
        known = ["digits", "mnist", *archives.names(folders)]
        raise ConfigurationError(
            f"dataset.name: there is no {name}.npz and no folder {name} of IDX files in "
            f"{' or '.join(map(str, folders))}{nearest(name, known)} (known: {', '.join(dict.fromkeys(known))}); "
            f"name the folder that holds it by --data-dir or {archives.ENVIRONMENT}"
        )
    return archives.read(path)


def _of_classes(raw: RawArrays, count: int) -> RawArrays:
    """Only the samples of the first `count` labels, of all splits. Raises ConfigurationError when there are fewer."""
    known = np.unique(raw.y)
    if count > len(known):
        raise ConfigurationError(f"dataset.classes: {count}, but {raw.source} has {len(known)} labels; ask for fewer")
    kept = np.isin(raw.y, known[:count])
    if raw.x_test is None or raw.y_test is None:
        return replace(raw, x=raw.x[kept], y=raw.y[kept])
    test = np.isin(raw.y_test, known[:count])
    return replace(raw, x=raw.x[kept], y=raw.y[kept], x_test=raw.x_test[test], y_test=raw.y_test[test])


def _check(x: Raw, y: Raw, source: str) -> None:
    """Raise ConfigurationError unless x is (n, ...) finite numbers and y is (n,) integers, n > 0."""
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y) or x.size == 0:
        raise ConfigurationError(
            f"{source}: shapes {x.shape} and {y.shape} are not those of samples (n, ...) and their labels (n,), n > 0"
        )
    if x.dtype.kind not in "buif" or (x.dtype.kind == "f" and not np.isfinite(x).all()):
        raise ConfigurationError(f"{source}: samples must be finite real numbers (they are {x.dtype}); clean the data")
    if y.dtype.kind not in "bui":
        raise ConfigurationError(f"{source}: labels must be integers, not {y.dtype}; convert them with y.astype(int)")


def _check_same_kind(raw: RawArrays, known: Raw) -> None:
    """Raise ConfigurationError unless the test samples look like the training samples."""
    if raw.x_test is None or raw.y_test is None:
        return
    if raw.x_test.shape[1:] != raw.x.shape[1:] or raw.x_test.dtype != raw.x.dtype:
        raise ConfigurationError(
            f"{raw.source}: test samples are {raw.x_test.dtype} {raw.x_test.shape[1:]}, "
            f"training samples {raw.x.dtype} {raw.x.shape[1:]}; save both alike"
        )
    strange = np.setdiff1d(raw.y_test, known)
    if strange.size:
        raise ConfigurationError(f"{raw.source}: test label {strange[0]} does not occur among the training labels")


def _count(n: int, fraction: float) -> int:
    """How many of `n` samples a fraction is; at least one when it is not 0, for an empty split scores nothing."""
    return max(1, round(fraction * n)) if fraction > 0.0 else 0


def _stratified_order(y: Labels, rng: np.random.Generator) -> Indices:
    """A random order of which every beginning holds each class in proportion, to within one sample.

    The i-th of a class's m shuffled samples gets the key (i + u) / m, with one uniform u per class; keys are sorted.
    """
    keys = np.empty(len(y))
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        keys[members] = (np.arange(len(members)) + rng.uniform()) / len(members)
    return np.argsort(keys, kind="stable")


def _scaling(x: Raw) -> Callable[[Raw], Array]:
    """How to bring samples into [0, 1], decided on training samples `x` alone.

    Bytes are divided by 255. Numbers that lie in [0, 1] stay as they are. Others are moved and scaled by the minimum
    and maximum: of the whole set for images, of each feature for vectors (whose features may have different units).
    Values outside, in other splits, are clipped.
    """
    low: npt.NDArray[np.floating] = np.zeros((), np.float32)
    span: npt.NDArray[np.floating] = np.full((), 255.0 if x.dtype == np.uint8 else 1.0, np.float32)
    if x.dtype != np.uint8 and x.size and (x.min() < 0 or x.max() > 1):
        axis = 0 if x.ndim == 2 else None
        low = np.asarray(x.min(axis=axis), np.float64)
        width = np.asarray(x.max(axis=axis), np.float64) - low
        span = np.where(width > 0.0, width, 1.0)  # a constant feature becomes 0

    def scale(values: Raw) -> Array:
        return np.asarray(np.clip((values - low) / span, 0.0, 1.0), np.float32)

    return scale


def _shape(shape: tuple[int, ...], resolution: int | None) -> tuple[int, ...]:
    """Shape of a sample after averaging down. Raises ConfigurationError where that is impossible."""
    if resolution is None:
        return shape
    if len(shape) != 2 or shape[0] != shape[1] or resolution > shape[0]:
        raise ConfigurationError(
            f"dataset.resolution: samples of shape {shape} cannot be averaged down to {resolution} x {resolution}; "
            "leave it out, or give square images and at most their resolution"
        )
    return (resolution, resolution)


def _features(x: Raw, scale: Callable[[Raw], Array], resolution: int | None) -> Array:
    """Scale, average down and flatten samples to (n, features)."""
    values = scale(x)
    if resolution is not None and resolution != x.shape[1]:
        averaging = area_matrix(x.shape[1], resolution)
        values = np.asarray(averaging @ values @ averaging.T, np.float32)
    return np.ascontiguousarray(values.reshape(len(values), math.prod(values.shape[1:])))


def area_matrix(size: int, resolution: int) -> Array:
    """The map (resolution, size) that averages a line of `size` pixels over `resolution` cells of equal width.

    Entry [i, j] is the length of the overlap of cell i, [i w, (i + 1) w] with w = size / resolution, and pixel j,
    [j, j + 1], divided by w: rows sum to 1, also where cells cut pixels in two. Images become A X A^T.
    """
    width = size / resolution
    starts = np.arange(resolution)[:, None] * width
    pixels = np.arange(size)[None, :]
    overlap = np.minimum(starts + width, pixels + 1) - np.maximum(starts, pixels)
    return np.asarray(np.clip(overlap, 0.0, None) / width, np.float32)
