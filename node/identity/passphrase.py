"""Where a passphrase may come from. Never from a flag or an environment variable's value: `ps` shows both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from node.identity.errors import IdentityError, PassphraseUnusable
from node.identity.keyfile import read_private

CREDENTIAL = "schwung-passphrase"  # systemd: LoadCredential=schwung-passphrase:/etc/…
MAX_BYTES = 4_096


def find_passphrase(configured: str, environ: Mapping[str, str]) -> str | None:
    """The passphrase by the first source that is set, or None (then the caller prompts, or the wallet stays locked).

    Order: `wallet.passphrase_file`, systemd's credential, the file that SCHWUNG_PASSPHRASE_FILE names.
    Raises PassphraseUnusable when a source is set and holds none.
    """
    if configured:
        return read_passphrase(Path(configured).expanduser())
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        credential = Path(folder) / CREDENTIAL
        if credential.exists():
            return read_passphrase(credential)
    if named := environ.get("SCHWUNG_PASSPHRASE_FILE"):
        return read_passphrase(Path(named).expanduser())
    return None


def read_passphrase(path: Path) -> str:
    """The first line of a private file. Raises PassphraseUnusable."""
    try:
        text = read_private(path, limit=MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError, IdentityError) as err:
        raise PassphraseUnusable(f"passphrase file: {err}") from err
    passphrase = text.split("\n", 1)[0].removesuffix("\r")
    if not passphrase:
        raise PassphraseUnusable(f"passphrase file {path} is empty")
    return passphrase
