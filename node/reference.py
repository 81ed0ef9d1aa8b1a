"""Write the committed OpenRPC document (`make docs`): the command line is built from it without importing the node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from node.app import Node
from node.face import methods
from node.rpc.methods import rpc
from node.rpc.openrpc import document
from node.rpc.registry import Registry

FILE = Path(__file__).parent / "rpc" / "openrpc.json"


class _Anything:
    """Stands for every service: methods are described here, never called."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: object, **__: object) -> Any:
        return self


def render() -> str:
    """The document of this code as the text of the file; its version stays 0, it changes without the API."""
    anything = cast(Any, _Anything())
    registry = Registry(methods(cast(Node, anything), anything, anything, anything))
    registry.add(rpc.methods(registry))
    described = document(registry)
    described["info"]["version"] = "0"
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Regenerate the file."""
    FILE.write_text(render(), encoding="utf-8")
