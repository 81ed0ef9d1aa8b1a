"""log: how much is said."""

from __future__ import annotations

from typing import Literal

from node.observe import log
from node.rpc.method import Method
from node.rpc.values import Name, Result

Level = Literal["debug", "info", "warning", "error", "critical"]


def methods() -> list[Method]:
    """Set the level."""

    async def set_level(level: Level, area: Name | None = None) -> Result:
        """Change the log level of an area such as `node.market`, or the default; until the node ends."""
        log.set_level(area or "", level)
        return {"area": area or "", "level": level}

    return [Method("log.set_level", set_level)]
