"""What peers may have of what is stored: all that lies below a pin or a share, and nothing else.

Bitswap asks for single blocks, so their CIDs are kept in memory: about 120 bytes for each 256 KiB that is offered, made
anew after something is offered no longer. Blocks, and runs in worker threads.
"""

from __future__ import annotations

import threading

from node.blocks.garbage import reachable
from node.blocks.store import BlockStore
from protocols.ids import Cid


class Offered:
    """The offered blocks of a store."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._cids: set[Cid] | None = None

    def __contains__(self, cid: Cid) -> bool:
        with self._lock:
            if self._cids is None:
                self._cids = reachable(self._store, self._store.roots())
            return cid in self._cids

    def add(self, root: Cid) -> None:
        """A root is offered from now on."""
        with self._lock:
            if self._cids is not None:
                self._cids |= reachable(self._store, [root])

    def renew(self) -> None:
        """Something is offered no longer."""
        with self._lock:
            self._cids = None
