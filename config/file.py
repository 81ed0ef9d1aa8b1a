"""Changing the config file: comments and order stay, and a value that the loader would refuse is never written."""

from __future__ import annotations

import os
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from config.errors import ConfigError
from config.loader import check_value


def set_key(path: Path, dotted: str, value: object) -> None:
    """Set `section.key` in the file at once or not at all. Raises ConfigError."""
    section, _, key = dotted.partition(".")
    check_value(section, key, value)
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    except (TOMLKitError, OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: {err}") from err
    document.setdefault(section, tomlkit.table())[key] = value
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.write_text(tomlkit.dumps(document), encoding="utf-8")
    os.replace(draft, path)
