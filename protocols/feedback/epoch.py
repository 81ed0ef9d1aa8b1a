"""The rewards for rating models, an epoch at a time: accounts, their sums and the tree, as `RewardPool` computes them.

Anybody may propose an epoch and anybody may refute one, so both sides compute the same here from the same facts. A line
counts a payer's settled vouchers on a model's lane from the lane's beginning; `cumulative_wei` is what all his lines
entitle him to since ever, `delta_wei` what this epoch adds.

    lines hash = keccak(abi.encode(Line[]))
    leaf       = keccak(keccak(abi.encode(index, payer, cumulative, delta, lines hash)))
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from eth_hash.auto import keccak

from protocols import merkle
from protocols.errors import RuleBroken
from protocols.ids import Address, address_bytes
from protocols.merkle import word

MAX_LINES = 64
BPS = 10_000
PPM = 1_000_000


class Line(msgspec.Struct, frozen=True):
    """A model that a payer rated, and up to where his settled vouchers count, in base units."""

    model_id: bytes
    up_to_wei: int


class Account(msgspec.Struct, frozen=True):
    """One payer of an epoch; amounts in base units."""

    payer: Address
    cumulative_wei: int
    delta_wei: int
    lines: tuple[Line, ...]


def entitlement(settled_wei: int, fee_bps: int, beta_ppm: int) -> int:
    """What money settled on lanes entitles their payer to: beta of the fee, both rounded down."""
    return settled_wei * fee_bps // BPS * beta_ppm // PPM


def account_of(payer: Address, lines: Sequence[Line], *, had_wei: int, fee_bps: int, beta_ppm: int) -> Account:
    """An account with its lines in order and its sum; new is what exceeds `had_wei`, given or promised before."""
    rows = tuple(sorted(lines, key=lambda line: line.model_id))
    cumulative = entitlement(sum(line.up_to_wei for line in rows), fee_bps, beta_ppm)
    return Account(payer, cumulative, max(0, cumulative - had_wei), rows)


def ordered(accounts: Sequence[Account]) -> list[Account]:
    """Ascending by payer, without those to whom nothing new is due: what `propose` takes."""
    return sorted((one for one in accounts if one.delta_wei), key=lambda one: address_bytes(one.payer))


def check(accounts: Sequence[Account], fee_bps: int, beta_ppm: int) -> None:
    """The form that `propose` asks for. Raises RuleBroken."""
    if not accounts:
        raise RuleBroken("an epoch without accounts")
    if not _ascending([address_bytes(one.payer) for one in accounts]):
        raise RuleBroken("the payers do not ascend")
    for one in accounts:
        if len(one.lines) > MAX_LINES:
            raise RuleBroken(f"{one.payer} has {len(one.lines)} lines, at most {MAX_LINES}")
        if not _ascending([line.model_id for line in one.lines]):
            raise RuleBroken(f"the lines of {one.payer} do not ascend")
        if one.cumulative_wei != entitlement(sum(line.up_to_wei for line in one.lines), fee_bps, beta_ppm):
            raise RuleBroken(f"the sum of {one.payer} is not what the lines give")
        if not 0 < one.delta_wei <= one.cumulative_wei:
            raise RuleBroken(f"{one.payer} gets {one.delta_wei} of {one.cumulative_wei}")


def lines_hash(lines: Sequence[Line]) -> bytes:
    """keccak(abi.encode(lines))."""
    body = b"".join(line.model_id + word(line.up_to_wei) for line in lines)
    return keccak(word(32) + word(len(lines)) + body)


def leaf(index: int, one: Account) -> bytes:
    """The leaf of an account."""
    head = word(index) + address_bytes(one.payer).rjust(32, b"\0")
    return merkle.leaf(head + word(one.cumulative_wei) + word(one.delta_wei) + lines_hash(one.lines))


class EpochTree(merkle.MerkleTree):
    """The tree of an epoch; an account's index is its position."""

    def __init__(self, accounts: Sequence[Account]) -> None:
        super().__init__([leaf(index, one) for index, one in enumerate(accounts)])
        self.total_wei = sum(one.delta_wei for one in accounts)


def _ascending(values: Sequence[bytes]) -> bool:
    """Strictly, and none of them zero: the contract begins to compare at zero."""
    before = b""
    for value in values:
        if value <= before or not any(value):
            return False
        before = value
    return True
