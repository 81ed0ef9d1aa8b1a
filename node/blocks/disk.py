"""Small acts on the disk that the stores share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from node.blocks.cids import canonical
from protocols.errors import BadIdentifier
from protocols.ids import Cid

TEMPORARY = ".writing"


class Stored(NamedTuple):
    """Something stored as the disk knows it; `touched` is when it was last stored or asked for (UTC seconds)."""

    cid: Cid
    size_bytes: int
    touched: float


def write_durably(path: Path, data: bytes) -> None:
    """Write beside the place, sync, rename: a name never stands for half a file. The folder is the caller's to sync."""
    temporary = path.with_suffix(TEMPORARY)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(handle)
    finally:
        os.close(handle)


def is_cid(name: str) -> bool:
    """Whether a file's name is a canonical CID."""
    try:
        return canonical(Cid(name)) == name
    except BadIdentifier:
        return False


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
