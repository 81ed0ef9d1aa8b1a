"""Write the committed OpenRPC document (`make docs`): the command line is built from it without importing the node.

schwung-free use:  python -c "from node.rpc.generate import main; main()"
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from node.rpc.openrpc import document
from node.rpc.surface import Services, registry

FILE = Path(__file__).with_name("openrpc.json")


class _Anything:
    """Stands for every service: methods are described here, never called."""

    def __getattr__(self, name: str) -> Any:
        return self


def render() -> str:
    """The document of this code as the text of the file; the version is left out, it changes without the API."""
    services = SimpleNamespace(**{name: _Anything() for name in Services.__dataclass_fields__})
    described = document(registry(cast(Services, services)))
    described["info"]["version"] = "0"
    return json.dumps(described, indent=1, ensure_ascii=False, sort_keys=False) + "\n"


def main() -> None:
    """Regenerate the file."""
    FILE.write_text(render(), encoding="utf-8")
