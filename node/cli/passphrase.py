"""A passphrase from a file or a prompt; never from a flag, never from the environment (both are seen by others)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from node.cli.errors import usage


def ask(file: str | None, *, twice: bool) -> str:
    """The first line of `file` or of SCHWUNG_PASSPHRASE_FILE, or what a person types."""
    path = file or os.environ.get("SCHWUNG_PASSPHRASE_FILE")
    if path:
        return _read(Path(path).expanduser())
    if not sys.stdin.isatty():
        raise usage("there is no terminal to ask for the passphrase", "give --passphrase-file FILE")
    import getpass

    typed = getpass.getpass("passphrase: ")
    if twice and getpass.getpass("again: ") != typed:
        raise usage("the two passphrases differ")
    if not typed:
        raise usage("an empty passphrase protects nothing")
    return typed


def _read(path: Path) -> str:
    try:
        first = path.read_text(encoding="utf-8").split("\n", 1)[0].removesuffix("\r")
    except (OSError, UnicodeDecodeError) as err:
        raise usage(f"cannot read the passphrase file {path}: {err}") from err
    if not first:
        raise usage(f"passphrase file {path} is empty")
    return first
