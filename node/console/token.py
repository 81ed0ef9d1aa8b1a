"""The bearer token of the console: one secret file that only its owner can read. Who can read the file may use the
node.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path

from node.console.errors import TokenExposed

TOKEN_BYTES = 32


def load_token(path: Path) -> str:
    """The token in `path`, made when there is none. Blocks. Raises TokenExposed when others can read the file."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _read(path)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token


def matches(header: str, token: str) -> bool:
    """Whether an `Authorization` header carries the token; takes the same time whatever it carries."""
    scheme, _, given = header.partition(" ")
    return hmac.compare_digest(given.strip().encode(), token.encode()) and scheme.lower() == "bearer"


def _read(path: Path) -> str:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise TokenExposed(f"{path} can be read by others (mode {mode:o})")
    token = path.read_text().strip()
    if len(token) < TOKEN_BYTES:
        raise TokenExposed(f"{path} holds no token of {TOKEN_BYTES} characters or more")
    return token
