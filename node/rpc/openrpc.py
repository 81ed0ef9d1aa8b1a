"""The OpenRPC document of a registry: what `rpc.discover` answers, and what the command line is made from."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec

from node.rpc.method import Method
from node.rpc.registry import Registry

OPENRPC = "1.3.2"


def document(registry: Registry) -> dict[str, Any]:
    """The whole document, methods in the order of their names."""
    methods = list(registry)
    _, components = msgspec.json.schema_components(
        [method.params for method in methods], ref_template="#/components/schemas/{name}"
    )
    own = {method.params.__name__ for method in methods}
    shared = {name: schema for name, schema in components.items() if name not in own}
    return {
        "openrpc": OPENRPC,
        "info": {"title": "Schwung", "version": version("schwung"), "license": {"name": "Apache-2.0"}},
        "methods": [_method(method, components[method.params.__name__]) for method in methods],
        "components": {"schemas": shared},
    }


def _method(method: Method, schema: dict[str, Any]) -> dict[str, Any]:
    summary, _, description = method.summary.partition("\n")
    required = schema.get("required", [])
    entry: dict[str, Any] = {"name": method.name, "summary": summary.strip()}
    if description.strip():
        entry["description"] = description.strip()
    entry["params"] = [
        {"name": name, "required": name in required, "schema": value} for name, value in schema["properties"].items()
    ]
    entry["result"] = {"name": "result", "schema": {"type": "object"}}
    return entry
