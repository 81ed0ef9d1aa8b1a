"""The wallet's key in memory: locked is its normal state, unlocked for a time.

wallet = Wallet(Keystore(paths.keystore))
await wallet.unlock(passphrase, for_s=3600)
signature = wallet.sign(digest)              # raises WalletLocked once the hour is over
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime

import coincurve
import trio

from node.identity.errors import NoWallet, WalletLocked
from node.identity.keystore import Keystore
from protocols import eip712
from protocols.ids import Address


class Wallet:
    """One account. The address is known while it is locked; only signing needs the key."""

    def __init__(self, keystore: Keystore, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._keystore = keystore
        self._clock = clock
        self._known = keystore.address()
        self._key: coincurve.PrivateKey | None = None
        self._until = -math.inf

    @property
    def exists(self) -> bool:
        """Whether there is a wallet at all; `create` makes one."""
        return self._known is not None

    @property
    def address(self) -> Address:
        """The account's address. Raises NoWallet."""
        if self._known is None:
            raise NoWallet
        return self._known

    @property
    def locked(self) -> bool:
        if self._key is not None and self._clock() >= self._until:
            self.lock()
        return self._key is None

    async def create(self, passphrase: str, now: datetime, secret: bytes | None = None) -> Address:
        """Make the account, or import `secret`; it stays locked. Raises WalletExists."""
        self._known = await self._keystore.create(passphrase, now, secret)
        return self._known

    async def unlock(self, passphrase: str, for_s: float | None = None) -> None:
        """Keep the key in memory for `for_s` seconds, or until `lock`. Raises NoWallet or WrongPassphrase."""
        key = await self._keystore.open(passphrase)
        self._key = key
        self._until = math.inf if for_s is None else self._clock() + for_s

    def lock(self) -> None:
        """Forget the key."""
        self._key = None
        self._until = -math.inf

    def sign(self, digest: bytes) -> bytes:
        """The 64-byte EIP-2098 signature of a digest. Raises NoWallet or WalletLocked."""
        if self._known is None:
            raise NoWallet
        if self.locked or self._key is None:
            raise WalletLocked
        return eip712.sign(self._key, digest)
