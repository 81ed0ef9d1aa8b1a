"""Accounts for tests, their keys in memory: light to import, for processes that tests start and kill."""

from __future__ import annotations

import coincurve

from node.identity.errors import WalletLocked
from protocols import eip712
from protocols.ids import Address

TOKEN = 10**18
SECRETS = {name: bytes([place]) * 32 for place, name in enumerate(("alice", "bob", "carol", "dave"), 0x41)}


class HotWallet:
    """A wallet whose key lies in memory; `locked` is a switch."""

    def __init__(self, secret: bytes) -> None:
        self.key = coincurve.PrivateKey(secret)
        self.locked = False
        self.exists = True

    @property
    def address(self) -> Address:
        return eip712.address_of(self.key.public_key)

    def sign(self, digest: bytes) -> bytes:
        if self.locked:
            raise WalletLocked
        return eip712.sign(self.key, digest)


def wallet_of(name: str) -> HotWallet:
    return HotWallet(SECRETS[name])
