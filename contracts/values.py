"""What the chain client hands out: calls to make, blocks, logs, receipts. Frozen, with plain Python values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.errors import BadReply


class Call(msgspec.Struct, frozen=True):
    """A write to be signed and sent: made by the bindings, carried out by the wallet's `Transactor`."""

    to: str
    data: bytes
    value: int = 0


class Block(msgspec.Struct, frozen=True):
    """A block's head; `timestamp` in UTC seconds, hashes as `0x…` hex."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    base_fee_wei: int


class Log(msgspec.Struct, frozen=True):
    """One event as mined. `name` is "" when no contract of ours declares it. (block_hash, index) is unique."""

    address: str
    name: str
    args: dict[str, Any]
    block: int
    block_hash: str
    transaction: str
    index: int
    topics: tuple[str, ...]
    data: str


class Receipt(msgspec.Struct, frozen=True):
    """A mined transaction. `gas_used * effective_gas_price` is what it cost in native wei."""

    hash: str
    block: int
    block_hash: str
    ok: bool
    gas_used: int
    effective_gas_price: int
    logs: tuple[Log, ...]
    sender: str = ""
    to: str = ""

    @property
    def cost_wei(self) -> int:
        return self.gas_used * self.effective_gas_price

    def events(self, name: str, address: str | None = None) -> list[dict[str, Any]]:
        """Arguments of every log called `name`, by one contract if an address is given."""
        return [log.args for log in self.logs if log.name == name and address in (None, log.address)]


def number(value: Any) -> int:
    """A JSON-RPC quantity. Raises BadReply."""
    try:
        return int(value, 16)
    except (TypeError, ValueError) as err:
        raise BadReply(f"{value!r:.80} is not a hex quantity") from err


def hex_bytes(value: Any) -> bytes:
    """JSON-RPC bytes (`0x…`). Raises BadReply."""
    try:
        return bytes.fromhex(value[2:])
    except (TypeError, ValueError) as err:
        raise BadReply(f"{value!r:.80} is not hex data") from err


def parse_block(plain: Any) -> Block:
    """An `eth_getBlockByNumber` result. Raises BadReply."""
    try:
        return Block(
            number=number(plain["number"]),
            hash=plain["hash"],
            parent_hash=plain["parentHash"],
            timestamp=number(plain["timestamp"]),
            base_fee_wei=number(plain.get("baseFeePerGas") or "0x0"),
        )
    except (KeyError, TypeError, AttributeError) as err:
        raise BadReply(f"a block without {err}") from err


def field(plain: Any, name: str) -> Any:
    """A member of a JSON object. Raises BadReply."""
    if not isinstance(plain, Mapping) or name not in plain:
        raise BadReply(f"the chain endpoint's answer lacks {name!r}")
    return plain[name]
