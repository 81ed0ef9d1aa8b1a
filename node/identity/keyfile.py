"""Key files: 32 secret bytes as a line of hex, mode 0600 from the first instant, created whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import coincurve

from node.identity.errors import KeyFileDamaged, KeyFileExposed

SECRET_BYTES = 32
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1, SEC 2 §2.4.1


def network_key(path: Path) -> bytes:
    """The Ed25519 seed of the libp2p identity (32 bytes), made at the first call. Raises IdentityError or OSError."""
    return load_or_create(path, lambda: secrets.token_bytes(SECRET_BYTES))


def session_key(path: Path) -> coincurve.PrivateKey:
    """The hot secp256k1 key that signs vouchers, made at the first call. Raises IdentityError or OSError."""
    secret = load_or_create(path, new_secret)
    if not 0 < int.from_bytes(secret, "big") < _ORDER:
        raise KeyFileDamaged(f"{path} does not hold a secp256k1 key")
    return coincurve.PrivateKey(secret)


def new_secret() -> bytes:
    """32 random bytes that are a secp256k1 key: 1 … n − 1."""
    return (secrets.randbelow(_ORDER - 1) + 1).to_bytes(SECRET_BYTES, "big")


def load_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """The secret in `path`; when there is none, what `make` gives is stored first. Two processes get the same one."""
    try:
        return load(path)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # another process was faster: its key counts
            write_new(path, make().hex().encode() + b"\n")
        return load(path)


def load(path: Path) -> bytes:
    """The secret in `path`. Raises FileNotFoundError, KeyFileExposed or KeyFileDamaged."""
    text = read_private(path, limit=1_024)
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError as err:
        raise KeyFileDamaged(f"{path} does not hold a key in hex") from err
    if len(secret) != SECRET_BYTES:
        raise KeyFileDamaged(f"{path} holds {len(secret)} bytes, a key has {SECRET_BYTES}")
    return secret


def read_private(path: Path, *, limit: int) -> bytes:
    """A file that only its owner may read. Raises FileNotFoundError, KeyFileExposed or KeyFileDamaged."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise KeyFileDamaged(f"{path} is not a file")
        if mode & 0o077:
            raise KeyFileExposed(f"{path} can be read by others (mode {stat.S_IMODE(mode):o}, it must be 600)")
        text = file.read(limit + 1)
    if len(text) > limit:
        raise KeyFileDamaged(f"{path} is longer than {limit} bytes")
    return text


def write_new(path: Path, text: bytes) -> None:
    """Create `path` with `text`, mode 0600: whole and on the disk, or not there. Raises FileExistsError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, it fails when somebody else made the file meanwhile
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
