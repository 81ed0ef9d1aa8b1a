"""Makes a LanceDB commit survive a power cut: LanceDB links its files into place but never calls fsync."""

from __future__ import annotations

import os
from pathlib import Path

FOLDERS = ("data", "_deletions", "_transactions", "_versions")


class Flusher:
    """Remembers which files of a table are on the disk already, so that a commit flushes only its own."""

    def __init__(self, table: Path) -> None:
        self._table = table
        self._known: dict[str, set[str]] = {name: _names(table / name) for name in FOLDERS}

    def flush(self) -> None:
        """fsync the files that appeared since the last call, then their folders. Blocks."""
        for name in FOLDERS:
            folder = self._table / name
            present = _names(folder)
            if fresh := present - self._known[name]:
                for file in fresh:
                    _sync(folder / file)
                _sync(folder)
            self._known[name] = present


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
