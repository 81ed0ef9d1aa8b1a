"""Epochs of rewards: the tree, the sums and the form, as RewardPool has them."""

from __future__ import annotations

import msgspec
import pytest
from eth_abi import encode as abi_encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from protocols import merkle
from protocols.errors import RuleBroken
from protocols.feedback.epoch import (
    MAX_LINES,
    Account,
    EpochTree,
    Line,
    account_of,
    check,
    entitlement,
    leaf,
    lines_hash,
    ordered,
)
from protocols.ids import checksum

TOKEN = 10**18
FEE_BPS, BETA_PPM = 250, 800_000
PAYERS = [checksum(bytes([number]) * 20) for number in range(1, 10)]


def lines(*sums: int) -> tuple[Line, ...]:
    return tuple(Line(bytes([number + 1]) * 32, up_to) for number, up_to in enumerate(sums))


def made(number: int, *sums: int, had: int = 0) -> Account:
    return account_of(PAYERS[number], lines(*sums), had_wei=had, fee_bps=FEE_BPS, beta_ppm=BETA_PPM)


def test_the_leaf_is_what_the_contract_encodes():
    account = made(0, 100 * TOKEN, 7)
    rows = [(line.model_id, line.up_to_wei) for line in account.lines]
    hashed = keccak(abi_encode(["(bytes32,uint96)[]"], [rows]))
    assert lines_hash(account.lines) == hashed
    assert lines_hash(()) == keccak(abi_encode(["(bytes32,uint96)[]"], [[]]))
    types = ["uint256", "address", "uint96", "uint96", "bytes32"]
    values = [5, account.payer, account.cumulative_wei, account.delta_wei, hashed]
    assert leaf(5, account) == keccak(keccak(abi_encode(types, values)))


@given(st.integers(1, 9))
def test_every_account_has_a_proof(count):
    accounts = [made(number, TOKEN * (number + 1)) for number in range(count)]
    tree = EpochTree(accounts)
    assert tree.total_wei == sum(account.delta_wei for account in accounts)
    for index, account in enumerate(accounts):
        assert merkle.verify(tree.root, leaf(index, account), tree.proof(index))
        more = msgspec.structs.replace(account, delta_wei=account.delta_wei + 1)
        assert not merkle.verify(tree.root, leaf(index, more), tree.proof(index))
        assert not merkle.verify(tree.root, leaf(index + 1, account), tree.proof(index))


def test_a_reward_is_beta_of_the_fee():
    assert entitlement(100 * TOKEN, FEE_BPS, BETA_PPM) == 2 * TOKEN
    assert entitlement(39, FEE_BPS, BETA_PPM) == 0  # the fee of 39 units rounds down to none
    account = made(0, 60 * TOKEN, 40 * TOKEN, had=TOKEN)
    assert (account.cumulative_wei, account.delta_wei) == (2 * TOKEN, TOKEN)
    assert made(0, TOKEN, had=TOKEN).delta_wei == 0


@given(st.integers(0, 2**96 - 1), st.integers(0, 2**96 - 1))
def test_parts_never_earn_more_than_the_whole(a, b):
    whole = entitlement(a + b, FEE_BPS, BETA_PPM)
    assert entitlement(a, FEE_BPS, BETA_PPM) + entitlement(b, FEE_BPS, BETA_PPM) <= whole
    assert whole * 10**10 <= (a + b) * FEE_BPS * BETA_PPM


def test_accounts_stand_in_order_and_the_paid_ones_stay_out():
    accounts = [made(2, TOKEN), made(0, TOKEN), made(1, TOKEN, had=TOKEN)]
    assert [account.payer for account in ordered(accounts)] == [PAYERS[0], PAYERS[2]]
    check(ordered(accounts), FEE_BPS, BETA_PPM)
    given_lines = (Line(b"\2" * 32, 1), Line(b"\1" * 32, 2))
    sorted_lines = account_of(PAYERS[0], given_lines, had_wei=0, fee_bps=FEE_BPS, beta_ppm=BETA_PPM).lines
    assert [line.up_to_wei for line in sorted_lines] == [2, 1]


GOOD = made(0, 100 * TOKEN)


@pytest.mark.parametrize(
    ("accounts", "words"),
    [
        ([], "without accounts"),
        ([made(1, TOKEN), made(0, TOKEN)], "payers do not ascend"),
        ([GOOD, GOOD], "payers do not ascend"),
        ([msgspec.structs.replace(GOOD, payer=checksum(bytes(20)))], "payers do not ascend"),
        ([msgspec.structs.replace(GOOD, lines=GOOD.lines * 2)], "lines of"),
        ([msgspec.structs.replace(GOOD, cumulative_wei=GOOD.cumulative_wei + 1)], "not what the lines give"),
        ([msgspec.structs.replace(GOOD, delta_wei=GOOD.cumulative_wei + 1)], "gets"),
        ([msgspec.structs.replace(GOOD, delta_wei=0)], "gets 0"),
        ([made(0, *range(MAX_LINES + 1))], "at most 64"),
    ],
)
def test_an_epoch_of_another_form(accounts, words):
    with pytest.raises(RuleBroken, match=words):
        check(accounts, FEE_BPS, BETA_PPM)


def test_the_form_of_a_good_epoch():
    check([GOOD, made(1, 1, 2, 3 * TOKEN)], FEE_BPS, BETA_PPM)
