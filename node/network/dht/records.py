"""Which peers said that they have which content: records that we keep for others, bounded in every direction.

A record is taken only from the provider itself. When a key is full, a provider that is connected takes the place of
one that is not; when all is full, the peer with the most records loses its oldest one to a peer with fewer. Records
live in memory: the keepers of a key are many, and every provider tells them again within hours.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.ids import PeerId

LIFETIME_S = 86_400.0  # without a renewal; a withdrawn record stays at most so long
PROVIDERS_OF_KEY = 32
KEYS_OF_PEER = 1_024
RECORDS = 20_000  # about 8 MB


class Records:
    """Keys to providers; `now` is any clock in seconds."""

    def __init__(
        self,
        connected: Callable[[PeerId], bool],
        *,
        lifetime_s: float = LIFETIME_S,
        of_key: int = PROVIDERS_OF_KEY,
        of_peer: int = KEYS_OF_PEER,
        most: int = RECORDS,
    ) -> None:
        self._connected = connected
        self._lifetime_s = lifetime_s
        self._of_key = of_key
        self._of_peer = of_peer
        self._most = most
        self._until: dict[bytes, dict[PeerId, float]] = {}
        self._keys: dict[PeerId, dict[bytes, None]] = {}  # oldest first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: bytes, peer: PeerId, now: float) -> bool:
        """Keep or renew a record; False when there is no room for it."""
        if peer not in self._until.get(key, ()):
            if len(self._keys.get(peer, ())) >= self._of_peer:
                return False
            if not self._room_at(key, now) or not self._room(peer, now):
                return False
            self._count += 1
        self._until.setdefault(key, {})[peer] = now + self._lifetime_s
        keys = self._keys.setdefault(peer, {})
        keys.pop(key, None)
        keys[key] = None
        return True

    def providers(self, key: bytes, now: float) -> list[PeerId]:
        """Who has it, newest last."""
        self._forget_old(key, now)
        return list(self._until.get(key, ()))

    def sweep(self, now: float) -> None:
        """Forget what has run out."""
        for key in list(self._until):
            self._forget_old(key, now)

    def _room_at(self, key: bytes, now: float) -> bool:
        self._forget_old(key, now)
        held = self._until.get(key, {})
        if len(held) < self._of_key:
            return True
        gone = next((peer for peer in held if not self._connected(peer)), None)
        if gone is not None:
            self._remove(key, gone)
        return gone is not None

    def _room(self, peer: PeerId, now: float) -> bool:
        if self._count >= self._most:
            self.sweep(now)
        if self._count < self._most:
            return True
        greedy = max(self._keys, key=lambda other: len(self._keys[other]))
        if len(self._keys[greedy]) <= len(self._keys.get(peer, ())) + 1:
            return False
        self._remove(next(iter(self._keys[greedy])), greedy)
        return True

    def _forget_old(self, key: bytes, now: float) -> None:
        for peer in [peer for peer, until in self._until.get(key, {}).items() if until <= now]:
            self._remove(key, peer)

    def _remove(self, key: bytes, peer: PeerId) -> None:
        held, keys = self._until[key], self._keys[peer]
        del held[peer], keys[key]
        self._count -= 1
        if not held:
            del self._until[key]
        if not keys:
            del self._keys[peer]
