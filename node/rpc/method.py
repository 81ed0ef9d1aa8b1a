"""A method: a typed async function, its parameters as a struct, its schema from both."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

import msgspec

from node.rpc.connection import Caller
from node.rpc.errors import InvalidParams

DEADLINE_S = 60.0  # longer work returns a job

Handler = Callable[..., Awaitable[Any]]


class Method:
    """One entry of the registry.

    A parameter of type `Caller` is filled with the connection, not by the client; `for_` is `for` outside.
    """

    def __init__(self, name: str, handler: Handler, *, deadline_s: float = DEADLINE_S) -> None:
        hints = get_type_hints(handler, include_extras=True)
        arguments = inspect.signature(handler).parameters.values()
        self.name = name
        self.deadline_s = deadline_s
        self.summary = inspect.getdoc(handler) or ""
        self.result = hints.get("return")
        self.params = _params(name, [a for a in arguments if hints[a.name] is not Caller], hints)
        self._handler = handler
        self._caller = next((a.name for a in arguments if hints[a.name] is Caller), None)
        self._optional = {_outside(a.name) for a in arguments if a.default is not inspect.Parameter.empty}

    def bind(self, params: object) -> dict[str, Any]:
        """Check named or positional params. Raises InvalidParams that names what is wrong."""
        names = self.params.__struct_encode_fields__
        if isinstance(params, list):
            if len(params) > len(names):
                raise InvalidParams(f"{self.name} takes {len(names)} parameters, {len(params)} were given")
            params = dict(zip(names, params, strict=False))
        if not isinstance(params, dict):
            raise InvalidParams("params must be an object or an array")
        given = {key: value for key, value in params.items() if value is not None or key not in self._optional}
        try:
            return msgspec.structs.asdict(msgspec.convert(given, self.params))
        except msgspec.ValidationError as err:
            raise InvalidParams(f"{self.name}: {err}") from err

    async def call(self, params: object, caller: Caller) -> Any:
        """Bind and run."""
        bound = self.bind(params)
        if self._caller:
            bound[self._caller] = caller
        return await self._handler(**bound)


def _params(name: str, arguments: list[inspect.Parameter], hints: dict[str, Any]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for argument in arguments:
        required = argument.default is inspect.Parameter.empty
        kind = hints[argument.name]
        fields.append((argument.name, kind) if required else (argument.name, kind, argument.default))
    return msgspec.defstruct(name.replace(".", "_"), fields, rename=_outside, forbid_unknown_fields=True, frozen=True)


def _outside(name: str) -> str:
    return name.rstrip("_")  # a parameter may be called as a Python keyword is
