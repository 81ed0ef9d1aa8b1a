"""The wallet's key on disk: Web3 Secret Storage v3, the files that geth and MetaMask read and write.

scrypt takes about a second and, at n = 2^18, 256 MiB: one at a time, in a thread. `eth_keyfile` costs a second to
import, so it is imported there.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import coincurve
import trio

from node.identity.errors import KeyFileDamaged, NoWallet, WalletExists, WrongPassphrase
from node.identity.keyfile import new_secret, read_private, write_new
from protocols.eip712 import address_of
from protocols.errors import BadIdentifier
from protocols.ids import Address, parse_address

SCRYPT_LOG2 = 18  # Web3 Secret Storage's "standard"; lower is for tests
MAX_SCRYPT_WORK = 1 << 24  # n·r of a file from elsewhere: above it, opening would take minutes and 2 GiB
MAX_FILE_BYTES = 65_536

_one_at_a_time = trio.CapacityLimiter(1)


class Keystore:
    """A folder of key files; the node uses the oldest of them as its wallet."""

    def __init__(self, folder: Path, *, scrypt_log2: int = SCRYPT_LOG2) -> None:
        self._folder = folder
        self._scrypt_n = 1 << scrypt_log2

    def address(self) -> Address | None:
        """The wallet's address without its key, or None when the folder holds no key file. Raises KeyFileDamaged."""
        path = self._path()
        return None if path is None else _address(path, _load(path))

    async def create(self, passphrase: str, now: datetime, secret: bytes | None = None) -> Address:
        """Store a new key, or `secret` if given. Raises WalletExists: a second wallet would hide the first."""
        if (there := self.address()) is not None:
            raise WalletExists(f"the wallet {there} is there already")
        key = coincurve.PrivateKey(secret or new_secret())
        address = address_of(key.public_key)
        document = await trio.to_thread.run_sync(
            _encrypt, key.secret, passphrase, self._scrypt_n, limiter=_one_at_a_time
        )
        document["address"] = address[2:].lower()  # as geth writes it
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(self._folder / _file_name(address, now), json.dumps(document).encode())
        return address

    async def open(self, passphrase: str) -> coincurve.PrivateKey:
        """Decrypt the wallet's key. Raises NoWallet, WrongPassphrase or KeyFileDamaged."""
        path = self._path()
        if path is None:
            raise NoWallet
        document = _load(path)
        address = _address(path, document)
        secret = await trio.to_thread.run_sync(_decrypt, path, document, passphrase, limiter=_one_at_a_time)
        key = coincurve.PrivateKey(secret)
        if address_of(key.public_key) != address:
            raise KeyFileDamaged(f"{path} holds the key of another address than it says")
        return key

    def _path(self) -> Path | None:
        if not self._folder.is_dir():
            return None
        return min((path for path in self._folder.iterdir() if path.name.startswith("UTC--")), default=None)


def _file_name(address: Address, now: datetime) -> str:
    """geth's scheme: UTC--2026-11-22T15-04-05.123456000Z--address; sorts by age."""
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    return f"UTC--{moment}000Z--{address[2:].lower()}"


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_private(path, limit=MAX_FILE_BYTES))
    except (ValueError, RecursionError) as err:
        raise KeyFileDamaged(f"{path} is not JSON") from err
    if not isinstance(document, dict) or document.get("version") != 3:
        raise KeyFileDamaged(f"{path} is not a Web3 Secret Storage file of version 3")
    return document


def _address(path: Path, document: dict[str, Any]) -> Address:
    try:
        return parse_address("0x" + str(document.get("address")).lower().removeprefix("0x"))
    except BadIdentifier as err:
        raise KeyFileDamaged(f"{path} names no address") from err


def _encrypt(secret: bytes, passphrase: str, scrypt_n: int) -> dict[str, Any]:
    from eth_keyfile.keyfile import create_keyfile_json

    document: dict[str, Any] = create_keyfile_json(secret, passphrase.encode(), kdf="scrypt", iterations=scrypt_n)
    return document


def _decrypt(path: Path, document: dict[str, Any], passphrase: str) -> bytes:
    from eth_keyfile.keyfile import decode_keyfile_json

    try:
        params = {key.lower(): value for key, value in document.items()}["crypto"]["kdfparams"]
        if int(params.get("n", 1)) * int(params.get("r", 1)) > MAX_SCRYPT_WORK:
            raise KeyFileDamaged(f"{path} asks for more scrypt work than any wallet does")
        secret: bytes = decode_keyfile_json(document, passphrase.encode())
    except ValueError as err:
        if "MAC mismatch" in str(err):
            raise WrongPassphrase from None
        raise KeyFileDamaged(f"{path}: {err}") from err
    except (KeyError, TypeError, AttributeError) as err:
        raise KeyFileDamaged(f"{path} lacks {err}") from err
    return secret
