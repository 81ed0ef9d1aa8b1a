"""Roots that are marked, one empty file each, named by the CID: pins, and what is shared.

A mark is synced into its folder before `add` or `remove` returns, so a kill at any instant leaves it there or not, and
never in between. Everything here blocks and runs in worker threads.
"""

from __future__ import annotations

from pathlib import Path

from node.blocks.cids import canonical
from node.blocks.disk import is_cid, sync_folder
from protocols.ids import Cid


class Marks:
    """The marked roots of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(self, cid: Cid) -> None:
        (self._folder / canonical(cid)).touch(mode=0o600)
        sync_folder(self._folder)

    def remove(self, cid: Cid) -> bool:
        """Whether it was marked."""
        try:
            (self._folder / canonical(cid)).unlink()
        except FileNotFoundError:
            return False
        sync_folder(self._folder)
        return True

    def __contains__(self, cid: Cid) -> bool:
        return (self._folder / canonical(cid)).exists()

    def all(self) -> list[Cid]:
        """In order of their CIDs."""
        return sorted(Cid(path.name) for path in self._folder.iterdir() if is_cid(path.name))

    def oldest_first(self) -> list[Cid]:
        """In the order in which they were marked."""
        return sorted(self.all(), key=lambda cid: (self._folder / cid).stat().st_mtime_ns)
