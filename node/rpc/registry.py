"""The methods of a node by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from node.rpc.errors import MethodNotFound
from node.rpc.method import Method


class Registry:
    """Every method once; `rpc.discover` and the command line come from it."""

    def __init__(self, methods: Iterable[Method] = ()) -> None:
        self._methods: dict[str, Method] = {}
        self.add(methods)

    def add(self, methods: Iterable[Method]) -> None:
        """Add methods; a name that is taken is a bug of ours."""
        for method in methods:
            if method.name in self._methods:
                raise ValueError(f"method {method.name} is registered twice")
            self._methods[method.name] = method

    def find(self, name: str) -> Method:
        """Raises MethodNotFound."""
        try:
            return self._methods[name]
        except KeyError:
            raise MethodNotFound(f"method {name[:100]!r} not found") from None

    def __iter__(self) -> Iterator[Method]:
        return iter(self._methods[name] for name in sorted(self._methods))
