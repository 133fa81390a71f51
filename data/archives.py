"""Data sets as files: where they are looked for, how `.npz` and IDX are read, and the download of MNIST."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import math
import os
import re
import struct
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs

from pib_lab.errors import ConfigurationError

ENVIRONMENT = "PIB_LAB_DATA"
MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# SHA-256 of the files as LeCun, Cortes and Burges published them; torchvision's MD5 sums belong to the same files.
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_TIMEOUT_S = 60.0
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_UNREADABLE = (OSError, EOFError, ValueError, struct.error, zlib.error, zipfile.BadZipFile)

Raw = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class RawArrays:
    """Arrays as they lie in the files, not checked yet; `source` is what error messages call them."""

    source: str
    x: Raw
    y: Raw
    x_test: Raw | None = None
    y_test: Raw | None = None


def cache_folder() -> Path:
    """The user's cache folder, which holds what was downloaded."""
    return platformdirs.user_cache_path("pib-lab") / "datasets"


def search_folders(data_dir: Path | None) -> list[Path]:
    """Folders searched, first one first: `data_dir`, or else the environment's; then the cache.

    Raises ConfigurationError when the folder that was asked for does not exist.
    """
    folders = [cache_folder()]
    wanted, said_by = data_dir, "--data-dir"
    if wanted is None and os.environ.get(ENVIRONMENT):
        wanted, said_by = Path(os.environ[ENVIRONMENT]), ENVIRONMENT
    if wanted is not None:
        if not wanted.is_dir():
            raise ConfigurationError(f"{said_by}: {wanted} is not a folder; create it or name another")
        folders.insert(0, wanted)
    return folders


def locate(name: str, folders: list[Path]) -> Path | None:
    """The first `NAME.npz`, or folder `NAME/` of IDX files, in `folders`; None when there is none."""
    for folder in folders:
        for candidate in (folder / f"{name}.npz", folder / name):
            if candidate.is_file() or (candidate.is_dir() and _idx_file(candidate, "train", "images")):
                return candidate
        if name == "mnist" and (folder / "train-images-idx3-ubyte.gz").is_file():
            return folder
    return None


def names(folders: list[Path]) -> list[str]:
    """Data sets that `locate` would find in `folders`."""
    entries = [entry for folder in folders if folder.is_dir() for entry in sorted(folder.iterdir())]
    found = {entry.stem if entry.suffix == ".npz" else entry.name for entry in entries}
    return sorted(name for name in found if locate(name, folders))


def read(path: Path) -> RawArrays:
    """Read an `.npz` file or a folder of IDX files.

    Raises ConfigurationError when arrays are missing or a file cannot be read.
    """
    if path.is_dir():
        return _read_idx_folder(path)
    try:
        with np.load(path, allow_pickle=False) as file:  # a pickle could run any code
            arrays = {key: file[key] for key in file.files}
    except _UNREADABLE as error:
        raise ConfigurationError(f"{path}: cannot be read as an .npz file of plain arrays ({error})") from error
    for x, y in (("x_train", "y_train"), ("x", "y")):
        if x in arrays and y in arrays and ("x_test" in arrays) == ("y_test" in arrays):
            return RawArrays(str(path), arrays[x], arrays[y], arrays.get("x_test"), arrays.get("y_test"))
    raise ConfigurationError(
        f"{path}: needs arrays x_train and y_train, or x and y (and may have both x_test and y_test); "
        f"it has {', '.join(sorted(arrays)) or 'none'}"
    )


def read_idx(path: Path) -> Raw:
    """Read one IDX file, plain or `.gz`: two zero bytes, type code, rank, big-endian sizes, then the elements.

    Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits". Raises ConfigurationError.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, code, rank = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{rank}I", content, 4)
        if zeros != 0 or code not in _IDX_TYPES:
            raise ValueError("it does not begin as IDX files do")
        array = np.frombuffer(content, _IDX_TYPES[code], offset=4 + 4 * rank)
        if array.size != math.prod(shape):
            raise ValueError(f"it holds {array.size} elements, its header says {shape}")
    except _UNREADABLE as error:
        raise ConfigurationError(f"{path}: is not a whole IDX file ({error}); fetch it again") from error
    return array.reshape(shape).astype(array.dtype.newbyteorder("="), copy=False)


def download_mnist(folder: Path) -> Path:
    """Fetch the four files of MNIST into `folder` (created), each checked before it gets its name; return `folder`.

    Files that lie there already are kept. Raises ConfigurationError when offline, or when a checksum is wrong.
    """
    help_text = (
        f"put mnist.npz, or the four files {', '.join(MNIST_SHA256)}, into a folder of yours and name it by "
        f"--data-dir or {ENVIRONMENT}"
    )
    for name, expected in MNIST_SHA256.items():
        target = folder / name
        if target.is_file():
            continue
        try:
            with urllib.request.urlopen(MNIST_MIRROR + name, timeout=_TIMEOUT_S) as response:
                content: bytes = response.read()
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            message = f"dataset mnist: cannot download {MNIST_MIRROR}{name} ({error}); {help_text}"
            raise ConfigurationError(message) from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise ConfigurationError(f"dataset mnist: {MNIST_MIRROR}{name} has a wrong checksum; {help_text}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(f".{os.getpid()}.part")  # two runs may download at the same time
            part.write_bytes(content)
            part.replace(target)
        except OSError as error:
            raise ConfigurationError(f"dataset mnist: cannot write {target} ({error}); {help_text}") from error
    return folder


def _read_idx_folder(folder: Path) -> RawArrays:
    found = {(part, kind): _idx_file(folder, part, kind) for part in ("train", "test") for kind in ("images", "labels")}
    arrays = {key: read_idx(path) for key, path in found.items() if path is not None}
    for part in ("train", "test"):
        if part == "test" and ("test", "images") not in arrays and ("test", "labels") not in arrays:
            continue  # a test split is optional
        for kind in ("images", "labels"):
            if (part, kind) not in arrays:
                alias = "t10k" if part == "test" else part
                raise ConfigurationError(
                    f"{folder}: lacks the {part} {kind}, an IDX file such as {alias}-{kind}-ubyte.gz"
                )
    return RawArrays(
        str(folder),
        arrays["train", "images"],
        arrays["train", "labels"],
        arrays.get(("test", "images")),
        arrays.get(("test", "labels")),
    )


def _idx_file(folder: Path, part: str, kind: str) -> Path | None:
    """The file whose name says IDX, `part` and `kind`; plain rather than .gz. MNIST's test files are called t10k."""
    words = ("t10k", "test") if part == "test" else (part,)
    found = [
        path
        for path in sorted(folder.iterdir())
        if kind in path.name and any(word in path.name for word in words) and re.search("idx|ubyte", path.name)
    ]
    stems = {path.name.removesuffix(".gz") for path in found}
    if len(stems) > 1:
        raise ConfigurationError(f"{folder}: cannot tell which holds the {part} {kind}: {', '.join(sorted(stems))}")
    return found[0] if found else None
