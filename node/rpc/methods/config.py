"""config: the settings in force, and the file they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from config.errors import ConfigError
from config.file import set_key
from config.loader import Loaded, plain
from node.rpc.errors import Invalid
from node.rpc.method import Method
from node.rpc.values import Name, Result

Value = str | int | float | bool | list[Any] | dict[str, Any]


def methods(loaded: Loaded, path: Path) -> list[Method]:
    """Get and set; `path` is the config file."""

    async def get(key: Name | None = None) -> Result:
        """All settings in force, or one (`section.key`), with where each comes from."""
        values = {
            f"{section}.{name}": value
            for section, keys in plain(loaded.settings).items()
            for name, value in keys.items()
        }
        if key is not None and key not in values:
            raise Invalid(f"there is no setting {key!r}")
        chosen = values if key is None else {key: values[key]}
        return {"items": [{"key": k, "value": v, "origin": loaded.origins[k]} for k, v in chosen.items()], "next": None}

    async def put(key: Name, value: Value) -> Result:
        """Write a setting into the config file; it is in force after a restart."""
        try:
            await trio.to_thread.run_sync(set_key, path, key, value)
        except ConfigError as err:
            raise Invalid(str(err)) from err
        return {"key": key, "file": str(path), "restart": True}

    return [Method("config.get", get), Method("config.set", put)]
