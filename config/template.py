"""The config file that `schwung init` writes: every setting, its reason and its default, commented out."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from config.settings import SECTIONS, reason


def render() -> str:
    """A valid TOML text in which every line is a comment or a section."""
    head = "# Settings of a Schwung node. What is commented out shows the default; a network file may prefer another.\n"
    return head + "".join(_section(name, kind) for name, kind in SECTIONS.items())


def _section(name: str, kind: type[msgspec.Struct]) -> str:
    defaults = msgspec.to_builtins(kind(), enc_hook=str)
    summary = (kind.__doc__ or "").splitlines()[0]
    lines = [f"\n[{name}]  # {summary}"]
    lines += [f"# {reason(name, key)}\n# {key} = {toml(value)}" for key, value in defaults.items()]
    return "\n".join(lines) + "\n"


def toml(value: object) -> str:
    """A plain value as TOML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
