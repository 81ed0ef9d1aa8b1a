"""config: the settings in force, and the file they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import trio

from config.errors import ConfigError
from config.file import set_key
from config.loader import Loaded, plain
from node.rpc.errors import Invalid
from node.rpc.method import Method
from node.rpc.values import Name, Result

Value = str | int | float | bool | list[Any] | dict[str, Any]


class Address(Protocol):
    """A contract in use, and where its address comes from."""

    @property
    def address(self) -> str: ...
    @property
    def origin(self) -> str: ...


def methods(loaded: Loaded, path: Path, contracts: Mapping[str, Address]) -> list[Method]:
    """Get and set; `path` is the config file, `contracts` the addresses in use, to be read only."""

    async def get(key: Name | None = None) -> Result:
        """All settings in force and the contracts in use, or one (`section.key`), with where each comes from."""
        values = {
            f"{section}.{name}": (value, loaded.origins[f"{section}.{name}"])
            for section, keys in plain(loaded.settings).items()
            for name, value in keys.items()
        }
        values |= {f"contracts.{name}": (one.address, one.origin) for name, one in contracts.items()}
        if key is not None and key not in values:
            raise Invalid(f"there is no setting {key!r}")
        chosen = values if key is None else {key: values[key]}
        return {"items": [{"key": k, "value": v, "origin": origin} for k, (v, origin) in chosen.items()], "next": None}

    async def put(key: Name, value: Value) -> Result:
        """Write a setting into the config file; it is in force after a restart."""
        try:
            await trio.to_thread.run_sync(set_key, path, key, value)
        except ConfigError as err:
            raise Invalid(str(err)) from err
        return {"key": key, "file": str(path), "restart": True}

    return [Method("config.get", get), Method("config.set", put)]
