"""Bought contents that are kept for other buyers: the same sealed bytes serve all, and no key is needed to hold them.

They have a room of their own; the oldest goes when a new one needs it, and when own content finds the store full. An
own pin is not touched by any of this. Blocks, and runs in worker threads.
"""

from __future__ import annotations

from node.blocks.store import BlockStore
from protocols.ids import Cid


class Shares:
    """The shares of a store."""

    def __init__(self, store: BlockStore, room_bytes: int) -> None:
        self._store = store
        self.room_bytes = room_bytes

    def take(self, root: Cid) -> bool:
        """Share a content that is here; False when the room is too small for it."""
        if self._size(root) > self.room_bytes:
            return False
        others = [share for share in self._store.shared.oldest_first() if share != root]
        taken = sum(map(self._size, others)) + self._size(root)
        for oldest in others:
            if taken <= self.room_bytes:
                break
            taken -= self._size(oldest)
            self._store.shared.remove(oldest)
        self._store.shared.add(root)
        return True

    def give_way(self) -> bool:
        """Let go of the oldest share; False when there is none."""
        oldest = self._store.shared.oldest_first()
        return bool(oldest) and self._store.shared.remove(oldest[0])

    def _size(self, root: Cid) -> int:
        payload = self._store.payloads.find(root)
        return payload.size_bytes if payload else len(self._store.get(root) or b"")
