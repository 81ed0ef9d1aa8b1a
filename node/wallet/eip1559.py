"""Sign fee-market transactions (EIP-1559, type 2) and price their gas."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from eth_hash.auto import keccak

from contracts.chain import Chain
from contracts.errors import RpcError
from contracts.values import Call, number
from protocols.eip712 import rsv

GWEI = 10**9
MIN_TIP_WEI = 1_000_000  # 0.001 gwei: some nodes do not relay a transaction without any tip
FEE_BLOCKS = 5  # how far back the tips of others are looked at
TIP_PERCENTILE = 25  # a quarter of the gas of recent blocks paid less: mined within a block or two
BUMP_NUM, BUMP_DEN = 9, 8  # +12.5 %: geth replaces from +10 %, other clients from +12.5 %

Rlp = bytes | list["Rlp"]


class Fees(msgspec.Struct, frozen=True):
    """What a unit of gas may cost, in wei; `base` is the next block's base fee as announced."""

    base: int
    tip: int
    max_fee: int

    def bumped(self) -> Fees:
        """The least that replaces a waiting transaction with these fees."""
        return Fees(self.base, _bump(self.tip), _bump(self.max_fee))

    def at_least(self, other: Fees) -> Fees:
        return Fees(self.base, max(self.tip, other.tip), max(self.max_fee, other.max_fee))


def _bump(fee: int) -> int:
    return fee * BUMP_NUM // BUMP_DEN + 1


async def current_fees(chain: Chain) -> Fees:
    """Median tip of recent blocks and twice the base fee: survives six full blocks in a row. Raises ChainError."""
    try:
        history = await chain.rpc.call("eth_feeHistory", hex(FEE_BLOCKS), "latest", [TIP_PERCENTILE])
        base = number(history["baseFeePerGas"][-1])
        tips = sorted(number(rewards[0]) for rewards in history.get("reward") or [["0x0"]])
    except (RpcError, LookupError, TypeError):  # endpoints without eth_feeHistory, or with an empty one
        block = await chain.block()
        base, tips = (block.base_fee_wei if block else 0), [0]
    tip = max(MIN_TIP_WEI, tips[len(tips) // 2])
    return Fees(base=base, tip=tip, max_fee=2 * base + tip)


class Draft(msgspec.Struct, frozen=True):
    """A transaction before its signature."""

    chain_id: int
    nonce: int
    gas: int
    tip: int
    max_fee: int
    call: Call


def sign_transaction(draft: Draft, sign: Callable[[bytes], bytes]) -> tuple[bytes, str]:
    """The raw transaction and its hash. `sign` takes a digest and gives 64 bytes (EIP-2098)."""
    fields: list[Rlp] = [
        _whole(draft.chain_id),
        _whole(draft.nonce),
        _whole(draft.tip),
        _whole(draft.max_fee),
        _whole(draft.gas),
        bytes.fromhex(draft.call.to[2:]),
        _whole(draft.call.value),
        draft.call.data,
        [],  # access list
    ]
    r, s, v = rsv(sign(keccak(b"\x02" + rlp(fields))))
    signed = [*fields, _whole(v - 27), r.lstrip(b"\0"), s.lstrip(b"\0")]
    raw = b"\x02" + rlp(signed)
    return raw, "0x" + keccak(raw).hex()


def _whole(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def rlp(item: Rlp) -> bytes:
    """Recursive length prefix (Yellow Paper, appendix B)."""
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _prefix(0x80, len(item)) + item
    body = b"".join(rlp(part) for part in item)
    return _prefix(0xC0, len(body)) + body


def _prefix(offset: int, size: int) -> bytes:
    if size < 56:
        return bytes([offset + size])
    length = _whole(size)
    return bytes([offset + 55 + len(length)]) + length
