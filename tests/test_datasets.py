"""Data sets: splits that share nothing, features in [0, 1], files of several kinds, and clear refusals."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from data import archives
from data.datasets import DataSet, area_matrix, load
from pib_lab.batches import batches
from pib_lab.errors import ConfigurationError
from pib_lab.experiment import Dataset

IDX_CODES = {"u1": 0x08, "i4": 0x0C, "f4": 0x0D}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees, or writes to, the user's own cache or data folder, or the network."""
    monkeypatch.setattr(archives, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(archives, "MNIST_MIRROR", f"{(tmp_path / 'mirror').as_uri()}/")
    monkeypatch.delenv(archives.ENVIRONMENT, raising=False)


def vectors(n: int = 100, classes: int = 4) -> dict[str, npt.NDArray[Any]]:
    """Samples that can be told apart by their first feature; the last class is rare."""
    y = np.minimum(np.arange(n) % 8, classes - 1)
    return {"x": np.stack([np.arange(n) / n, y / 8], axis=1), "y": y}


def save(folder: Path, **arrays: npt.NDArray[Any]) -> Path:
    """Write `own.npz`; return its folder."""
    np.savez(folder / "own.npz", **arrays)  # type: ignore[arg-type]
    return folder


def save_idx(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an IDX file, compressed when its name says so."""
    kind = array.dtype.str[1:]
    content = struct.pack(f">HBB{array.ndim}I", 0, IDX_CODES[kind], array.ndim, *array.shape)
    content += array.astype(f">{kind}").tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def save_small_mnist(folder: Path) -> None:
    """Write four IDX files named like MNIST's, with 40 training and 10 test images of 4x4 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for part, n in (("train", 40), ("t10k", 10)):
        save_idx(folder / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 4, 4)).astype(np.uint8))
        save_idx(folder / f"{part}-labels-idx1-ubyte.gz", (np.arange(n) % 5).astype(np.uint8))


def rows(loaded: DataSet) -> list[set[tuple[float, ...]]]:
    """The samples of the three splits, as sets."""
    return [{tuple(row) for row in split.x.tolist()} for split in (loaded.train, loaded.validation, loaded.test)]


def test_digits_are_split_into_three_that_share_nothing() -> None:
    """Digits need no file, lie in [0, 1], show every class everywhere, and no image is in two splits."""
    loaded = load(Dataset(name="digits", validation=0.15), seed=1)
    assert (loaded.classes, loaded.features, loaded.shape) == (10, 64, (8, 8))
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (1222, 216, 359)
    train, validation, test = rows(loaded)
    assert len(train | validation | test) == 1797
    for split in (loaded.train, loaded.validation, loaded.test):
        assert split.x.dtype == np.float32
        assert split.y.dtype == np.int64
        assert split.x.min() == 0.0
        assert split.x.max() == 1.0
        shares = np.bincount(split.y, minlength=10) / len(split)
        assert np.abs(shares - 0.1).max() < 0.01


def test_the_seed_moves_validation_but_never_the_test_split(tmp_path: Path) -> None:
    """Runs with different seeds are scored on the same test samples, and the same seed gives the same splits."""
    folder = save(tmp_path, **vectors())
    first, again, other = (load(Dataset(name="own"), seed, folder) for seed in (1, 1, 2))
    assert np.array_equal(first.validation.x, again.validation.x)
    assert np.array_equal(first.train.x, again.train.x)
    assert np.array_equal(first.test.x, other.test.x)
    assert rows(first)[1] != rows(other)[1]


def test_limit_shortens_training_alone(tmp_path: Path) -> None:
    """With a limit, the first training samples remain, each class in proportion; other splits stay as they are."""
    folder = save(tmp_path, **vectors(400, 3))
    whole, short = (load(Dataset(name="own", limit=limit), 1, folder) for limit in (None, 40))
    assert np.array_equal(short.train.x, whole.train.x[:40])
    assert np.array_equal(short.validation.x, whole.validation.x)
    assert np.array_equal(short.test.x, whole.test.x)
    assert np.abs(np.bincount(short.train.y) - np.array([5, 5, 30])).max() <= 1


def test_without_validation_the_split_is_empty(tmp_path: Path) -> None:
    """A validation fraction of 0 leaves all samples to training and keeps the shape of an empty split."""
    loaded = load(Dataset(name="own", validation=0.0), 1, save(tmp_path, **vectors()))
    assert loaded.validation.x.shape == (0, 2)
    assert (len(loaded.train), len(loaded.test)) == (80, 20)


def test_labels_are_renumbered_from_zero(tmp_path: Path) -> None:
    """Labels need not begin at 0 nor be without gaps."""
    arrays = vectors()
    loaded = load(Dataset(name="own"), 1, save(tmp_path, x=arrays["x"], y=arrays["y"] * 10 - 3))
    assert loaded.classes == 4
    assert set(loaded.train.y.tolist()) == {0, 1, 2, 3}


def test_vectors_are_scaled_by_each_features_training_range(tmp_path: Path) -> None:
    """Features with different units each fill [0, 1] on the training split; others are clipped to it."""
    x = np.stack([np.linspace(-5, 5, 50), np.linspace(1e3, 2e3, 50), np.full(50, 7.0)], axis=1)
    folder = save(tmp_path, x_train=x, y_train=np.arange(50) % 2, x_test=x * 3, y_test=np.arange(50) % 2)
    loaded = load(Dataset(name="own", validation=0.0), 1, folder)
    assert loaded.train.x.min(axis=0).tolist() == [0.0, 0.0, 0.0]
    assert loaded.train.x.max(axis=0).tolist() == [1.0, 1.0, 0.0]
    assert loaded.test.x.min() == 0.0
    assert loaded.test.x.max() == 1.0


def test_images_share_one_scale(tmp_path: Path) -> None:
    """Images that are not bytes keep the relative brightness of their pixels."""
    x = np.zeros((20, 2, 2), np.float32)
    x[:, 0, 0], x[:, 1, 1] = 10.0, 40.0
    loaded = load(Dataset(name="own"), 1, save(tmp_path, x=x, y=np.arange(20) % 2))
    assert loaded.train.x[0].tolist() == [0.25, 0.0, 0.0, 1.0]


def test_bytes_are_divided_by_255(tmp_path: Path) -> None:
    """Bytes have a natural full scale, even when no sample reaches it."""
    x = np.full((20, 2, 2), 51, np.uint8)
    loaded = load(Dataset(name="own"), 1, save(tmp_path, x=x, y=np.arange(20) % 2))
    assert loaded.train.x == pytest.approx(0.2)


@pytest.mark.parametrize(("size", "resolution"), [(28, 8), (8, 3), (8, 4), (5, 5), (7, 1)])
def test_area_matrix_averages_exactly(size: int, resolution: int) -> None:
    """Cells weigh pixels by their overlap: as drawing each pixel `resolution` times and averaging `size` of them."""
    line = np.random.default_rng(0).random(size)
    expected = np.repeat(line, resolution).reshape(resolution, size).mean(axis=1)
    assert area_matrix(size, resolution) @ line == pytest.approx(expected, rel=1e-6)


def test_resolution_averages_images_and_keeps_their_mean(tmp_path: Path) -> None:
    """Images are averaged down along both axes, and their mean brightness stays."""
    x = np.random.default_rng(0).integers(0, 256, (30, 6, 6)).astype(np.uint8)
    folder = save(tmp_path, x=x, y=np.arange(30) % 3)
    fine, coarse = (load(Dataset(name="own", resolution=r), 1, folder) for r in (None, 4))
    assert (coarse.shape, coarse.features) == ((4, 4), 16)
    assert coarse.train.x.mean(axis=1) == pytest.approx(fine.train.x.mean(axis=1), rel=1e-5)
    # the upper left cell covers 1.5 x 1.5 pixels
    weights = np.outer([1, 0.5, 0, 0, 0, 0], [1, 0.5, 0, 0, 0, 0]) / 2.25
    assert coarse.train.x[:, 0] == pytest.approx(fine.train.x @ weights.ravel(), rel=1e-5)


@pytest.mark.parametrize("resolution", [3, 9])
def test_resolution_needs_square_images(tmp_path: Path, resolution: int) -> None:
    """Vectors cannot be averaged down, and nothing can be averaged up."""
    with pytest.raises(ConfigurationError, match=r"dataset\.resolution"):
        load(Dataset(name="own", resolution=resolution), 1, save(tmp_path, **vectors()))
    with pytest.raises(ConfigurationError, match=r"dataset\.resolution"):
        load(Dataset(name="digits", resolution=9), 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": np.full((100, 2), np.nan)}, "finite"),
        ({"x": np.full((100, 2), np.inf)}, "finite"),
        ({"x": np.full((100, 2), 1j)}, "finite real numbers"),
        ({"x": np.zeros((99, 2))}, "shapes"),
        ({"x": np.zeros(100)}, "shapes"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0, int)}, "shapes"),
        ({"y": np.zeros((100, 4), int)}, "shapes"),
        ({"y": np.linspace(0, 1, 100)}, "integers"),
        ({"y": np.full(100, 3)}, "two classes"),
        ({"x_test": np.zeros((4, 2))}, "y_test"),
        ({"x_test": np.zeros((4, 3)), "y_test": np.zeros(4, int)}, "save both alike"),
        ({"x_test": np.zeros((4, 2)), "y_test": np.full(4, 9)}, "label 9"),
        ({"x_test": np.full((4, 2), np.nan), "y_test": np.zeros(4, int)}, "finite"),
    ],
)
def test_arrays_that_cannot_be_learned_from_are_refused(
    tmp_path: Path, change: dict[str, npt.NDArray[Any]], says: str
) -> None:
    """Not-a-numbers, wrong shapes, labels that are none, and a single class: an error that names the file."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        load(Dataset(name="own"), 1, save(tmp_path, **(vectors() | change)))
    assert "own.npz" in str(caught.value)


def test_a_limit_that_leaves_one_class_is_refused(tmp_path: Path) -> None:
    """One sample cannot show two classes."""
    with pytest.raises(ConfigurationError, match=r"dataset\.limit"):
        load(Dataset(name="own", limit=1), 1, save(tmp_path, **vectors()))


def test_an_archive_without_the_right_arrays_says_what_it_has(tmp_path: Path) -> None:
    """Other names of arrays are refused with the right ones and those found."""
    with pytest.raises(ConfigurationError, match=r"x_train and y_train.*it has images, y"):
        load(Dataset(name="own"), 1, save(tmp_path, images=np.zeros((2, 2)), y=np.zeros(2)))


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 truncated"])
def test_a_broken_archive_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    """An empty, foreign or truncated file is refused by its name."""
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"own\.npz: cannot be read"):
        load(Dataset(name="own"), 1, tmp_path)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    """An archive of Python objects is refused, for loading it could run any code."""
    with pytest.raises(ConfigurationError, match="plain arrays"):
        load(Dataset(name="own"), 1, save(tmp_path, x=np.array([{}, {}]), y=np.arange(2)))


def test_an_unknown_data_set_names_the_nearest(tmp_path: Path) -> None:
    """A misspelt name is answered with the right one, and with the folders that were searched."""
    save(tmp_path, **vectors())
    with pytest.raises(ConfigurationError, match="did you mean 'own'") as caught:
        load(Dataset(name="owm"), 1, tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(ConfigurationError, match="did you mean 'digits'"):
        load(Dataset(name="digit"), 1)
    with pytest.raises(ConfigurationError, match="plain name"):
        load(Dataset(name="../own"), 1, tmp_path)


def test_the_environment_names_a_folder_and_data_dir_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PIB_LAB_DATA is searched unless --data-dir is given; a folder that does not exist is an error."""
    (tmp_path / "other").mkdir()
    monkeypatch.setenv(archives.ENVIRONMENT, str(save(tmp_path, **vectors())))
    assert load(Dataset(name="own"), 1).features == 2
    with pytest.raises(ConfigurationError, match=r"no own\.npz"):
        load(Dataset(name="own"), 1, tmp_path / "other")
    with pytest.raises(ConfigurationError, match="--data-dir"):
        load(Dataset(name="own"), 1, tmp_path / "missing")
    monkeypatch.setenv(archives.ENVIRONMENT, str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match=archives.ENVIRONMENT):
        load(Dataset(name="own"), 1)


@pytest.mark.parametrize("kind", ["u1", "i4", "f4"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_round_trip(tmp_path: Path, kind: str, suffix: str) -> None:
    """IDX files are read as they were written, plain or compressed, big-endian numbers included."""
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    save_idx(tmp_path / f"array-idx3{suffix}", array)
    found = archives.read_idx(tmp_path / f"array-idx3{suffix}")
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype


def test_a_folder_of_idx_files_is_a_data_set(tmp_path: Path) -> None:
    """The test split is the files' own; without test files a fifth of the training samples serves."""
    save_small_mnist(tmp_path / "letters")
    loaded = load(Dataset(name="letters"), 1, tmp_path)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (36, 4, 10)
    assert loaded.shape == (4, 4)
    for file in (tmp_path / "letters").glob("t10k*"):
        file.unlink()
    assert len(load(Dataset(name="letters"), 1, tmp_path).test) == 8


def test_incomplete_or_ambiguous_idx_folders_are_refused(tmp_path: Path) -> None:
    """Missing labels, two candidates for one part, and truncated files are told apart."""
    folder = tmp_path / "letters"
    save_small_mnist(folder)
    images, labels = folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"
    content = labels.read_bytes()
    labels.unlink()
    with pytest.raises(ConfigurationError, match="lacks the train labels"):
        load(Dataset(name="letters"), 1, tmp_path)
    labels.write_bytes(content[:-12])
    with pytest.raises(ConfigurationError, match="not a whole IDX file"):
        load(Dataset(name="letters"), 1, tmp_path)
    labels.write_bytes(content)
    (folder / "byclass-train-images-idx3-ubyte.gz").write_bytes(images.read_bytes())
    with pytest.raises(ConfigurationError, match="cannot tell which"):
        load(Dataset(name="letters"), 1, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00\x00", b"\x01\x02\x08\x01\x00\x00\x00\x01\x00", b"\x00\x00\x08\x01\x00"]
)
def test_files_that_are_not_idx_are_refused(tmp_path: Path, content: bytes) -> None:
    """Anything but a whole IDX file is refused by its name."""
    (tmp_path / "broken-idx1").write_bytes(content)
    with pytest.raises(ConfigurationError, match="broken-idx1"):
        archives.read_idx(tmp_path / "broken-idx1")


def test_offline_mnist_says_where_to_put_the_files() -> None:
    """Without the files and without a network, the message says which files and by what to name their folder."""
    with pytest.raises(ConfigurationError, match=r"cannot download.*mnist\.npz.*--data-dir or PIB_LAB_DATA"):
        load(Dataset(name="mnist"), 1)


def test_a_download_with_a_wrong_checksum_is_thrown_away(tmp_path: Path) -> None:
    """A file that is not what was published is neither used nor kept."""
    save_small_mnist(tmp_path / "mirror")
    with pytest.raises(ConfigurationError, match="wrong checksum"):
        load(Dataset(name="mnist"), 1)
    assert not (tmp_path / "cache").exists()


def test_a_download_is_checked_completed_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of an interrupted download are kept and the others fetched; afterwards no network is needed."""
    mirror = tmp_path / "mirror"
    save_small_mnist(mirror)
    sums = {name: hashlib.sha256((mirror / name).read_bytes()).hexdigest() for name in archives.MNIST_SHA256}
    monkeypatch.setattr(archives, "MNIST_SHA256", sums)
    downloads = tmp_path / "cache" / "mnist"
    downloads.mkdir(parents=True)
    kept = "train-images-idx3-ubyte.gz"
    (mirror / kept).rename(downloads / kept)
    assert len(load(Dataset(name="mnist"), 1).test) == 10
    for file in mirror.iterdir():
        file.unlink()
    assert len(load(Dataset(name="mnist"), 1).test) == 10


def test_real_mnist_is_averaged_down_to_8x8() -> None:
    """The real file gives 60,000 and 10,000 images of ten classes, averaged down in good time."""
    folder = Path(os.environ.get("PIB_LAB_DATA") or Path(__file__).parents[2] / "shared" / "datasets")
    if not (folder / "mnist.npz").is_file():
        pytest.skip(f"LOUD: mnist.npz is not in {folder}; name its folder by PIB_LAB_DATA to run this test")
    loaded = load(Dataset(name="mnist", resolution=8), 1, folder)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (54_000, 6_000, 10_000)
    assert (loaded.classes, loaded.features) == (10, 64)
    assert 0.12 < loaded.train.x.mean() < 0.14


def test_batches_are_a_function_of_seed_and_epoch_alone() -> None:
    """The same seed and epoch give the same batches; another of either gives others."""
    first = batches(100, 16, seed=3, epoch=2)
    assert np.array_equal(first, batches(100, 16, seed=3, epoch=2))
    assert not np.array_equal(first, batches(100, 16, seed=3, epoch=3))
    assert not np.array_equal(first, batches(100, 16, seed=4, epoch=2))


def test_batches_hold_no_sample_twice_and_drop_the_last_incomplete_one() -> None:
    """An epoch is whole batches of different samples; which samples are left out changes from epoch to epoch."""
    found = batches(100, 16, seed=0, epoch=0)
    assert found.shape == (6, 16)
    assert len(set(found.ravel().tolist())) == 96
    assert set(found.ravel().tolist()) != set(batches(100, 16, seed=0, epoch=1).ravel().tolist())


def test_too_few_samples_for_a_batch_are_refused() -> None:
    """A batch larger than the training split is an error that names the key to lower."""
    with pytest.raises(ConfigurationError, match=r"schedule\.batch: 10 training samples"):
        batches(10, 16, seed=0, epoch=0)
    with pytest.raises(ConfigurationError, match=r"schedule\.batch"):
        batches(10, 0, seed=0, epoch=0)
