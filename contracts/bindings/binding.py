"""What every typed binding is made of: an address, an ABI, typed reads and `Call` values for writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from contracts.abi import Abi
from contracts.errors import BadReply, Reverted, RpcError
from contracts.rpc import ChainRpc
from contracts.values import Call, Receipt, hex_bytes

T = TypeVar("T")
BlockTag = int | str  # a number, or "latest", "safe", "finalized", "pending"


class Binding:
    """One deployed contract. Subclasses name its functions; nothing here signs or sends."""

    def __init__(self, rpc: ChainRpc, address: str, abi: Abi) -> None:
        self._rpc = rpc
        self.address = address
        self.abi = abi

    async def _read(self, name: str, *args: Any, block: BlockTag = "latest") -> Any:
        """One view function; a single result comes bare, several as a tuple. Raises Reverted."""
        try:
            data = await self._rpc.call("eth_call", *self._view(name, args, block))
        except RpcError as err:
            raise decode_revert(err, [self.abi]) or err from None
        return self._result(name, data)

    async def _read_many(self, reads: Sequence[tuple[str, Sequence[Any]]], block: BlockTag) -> list[Any]:
        """Several view functions at one block in one round trip, results as `_read` gives them."""
        calls = [("eth_call", self._view(name, args, block)) for name, args in reads]
        try:
            found = await self._rpc.batch(calls)
        except RpcError as err:
            raise decode_revert(err, [self.abi]) or err from None
        return [self._result(name, data) for (name, _), data in zip(reads, found, strict=True)]

    def _view(self, name: str, args: Sequence[Any], block: BlockTag) -> tuple[dict[str, str], str]:
        return {"to": self.address, "data": "0x" + self.abi.encode(name, *args).hex()}, tag(block)

    def _result(self, name: str, data: Any) -> Any:
        try:
            values = self.abi.result(name, hex_bytes(data))
        except ValueError as err:
            raise BadReply(f"{self.address} is not the contract the network file says it is: {err}") from err
        return values[0] if len(values) == 1 else values

    async def _whole(self, name: str, *args: Any, block: BlockTag = "latest") -> int:
        value: int = await self._read(name, *args, block=block)
        return value

    async def _flag(self, name: str, *args: Any, block: BlockTag = "latest") -> bool:
        value: bool = await self._read(name, *args, block=block)
        return value

    async def _account(self, name: str, *args: Any, block: BlockTag = "latest") -> str:
        value: str = await self._read(name, *args, block=block)
        return value

    async def _struct(self, kind: type[T], name: str, *args: Any, block: BlockTag = "latest") -> T:
        """A view that returns a struct or several values, as the frozen struct `kind` with its fields in that order."""
        values = await self._read(name, *args, block=block)
        return kind(*values)

    def _call(self, name: str, *args: Any, value: int = 0) -> Call:
        return Call(to=self.address, data=self.abi.encode(name, *args), value=value)

    def _emitted(self, receipt: Receipt, event: str) -> dict[str, Any]:
        """The arguments of the one `event` this contract emitted in a transaction. Raises BadReply."""
        found = receipt.events(event, self.address)
        if not found:
            raise BadReply(f"transaction {receipt.hash} holds no {event} of {self.address}")
        return found[0]

    def topic(self, event: str) -> str:
        """The first topic of an event of this contract, for log filters."""
        return "0x" + self.abi.topics[event].hex()


class View(msgspec.Struct, frozen=True):
    """Base of the structs that views return: fields in the contract's order."""


def tag(block: BlockTag) -> str:
    """A block as JSON-RPC wants it."""
    return hex(block) if isinstance(block, int) else block


def decode_revert(err: RpcError, abis: list[Abi]) -> Reverted | None:
    """The custom error in a JSON-RPC error, by the first ABI that knows it; None when the error is no revert."""
    data = err.data.get("data") if isinstance(err.data, dict) else err.data
    raw = b""
    if isinstance(data, str) and data.startswith("0x"):
        raw = hex_bytes(data)
    elif "revert" not in err.message.lower():
        return None
    for abi in abis:
        if found := abi.error(raw):
            return Reverted(*found)
    return Reverted(f"0x{raw[:4].hex()}" if raw else "without a reason")
