"""Methods that exist to be called wrongly."""

from __future__ import annotations

import trio

from node.rpc.method import Method
from node.rpc.values import Result


class ToyFailure(Exception):
    """A domain error of a given kind."""

    hint = "mend it"

    def __init__(self, kind: str) -> None:
        super().__init__("toy failed")
        self.kind = kind


async def add(a: int, b: int = 1) -> Result:
    """Add two numbers.

    A longer word on how numbers are added.
    """
    return {"sum": a + b}


async def fail(kind: str) -> Result:
    """Fail in a given way."""
    raise ToyFailure(kind)


async def slow() -> Result:
    """Never end."""
    await trio.sleep_forever()
    return {}


async def bug() -> Result:
    """Have a bug that mentions a secret."""
    raise KeyError("hunter2")


async def odd() -> Result:
    """Answer with what is no JSON."""
    return {"x": object()}


async def huge() -> Result:
    """Answer with too much."""
    return {"x": "y" * (9 << 20)}


def methods() -> list[Method]:
    """All of them, as `toy.*`."""
    slow_method = Method("toy.slow", slow, deadline_s=0.05)
    return [Method(f"toy.{fn.__name__}", fn) for fn in (add, fail, bug, odd, huge)] + [slow_method]
