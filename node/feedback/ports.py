"""What feedback needs of the services below, as small as it needs it."""

from __future__ import annotations

from typing import Protocol

from protocols.ids import Address


class Wallet(Protocol):
    """Whose ratings, stakes and rewards these are; there may be no wallet yet."""

    @property
    def exists(self) -> bool: ...
    @property
    def locked(self) -> bool: ...
    @property
    def address(self) -> Address: ...


class Events(Protocol):
    """Where state changes are told."""

    def publish(self, topic: str, data: dict[str, object]) -> object: ...
