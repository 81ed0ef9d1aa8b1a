"""What the bindings of models, rewards and stakes put into calldata, and how they read a model's state."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from eth_abi.abi import decode as abi_decode
from web3 import Web3

from config.profile import CONTRACTS
from contracts.bindings.models import NO_PARENT, Model, Phase, Share, Terms
from contracts.chain import Call, Chain
from contracts.rpc import ChainRpc
from protocols.feedback.epoch import Account, Line, lines_hash
from protocols.ids import checksum

ADDRESSES = {name: Web3.to_checksum_address("0x" + f"{place:02x}" * 20) for place, name in enumerate(CONTRACTS, 1)}
MODEL, PARENT, ROOT = b"\1" * 32, b"\2" * 32, b"\3" * 32
PAYER = checksum(b"\7" * 20)


@pytest.fixture
def chain() -> Chain:
    return Chain(ChainRpc("http://127.0.0.1:1"), ADDRESSES, 1)


def arguments(chain: Chain, name: str, call: Call) -> tuple[Any, ...]:
    """The called function must be `name` of the contract at `to`."""
    binding = {chain.models.address: chain.models, chain.rewards.address: chain.rewards}[call.to]
    assert binding.abi.function_of(call.data) == name
    return tuple(abi_decode(binding.abi.functions[name].inputs, call.data[4:]))


def test_publish_packs_the_terms_in_the_contracts_order(chain: Chain) -> None:
    terms = Terms(
        model_id=MODEL, publisher_bps=2_000, price_per_unit_wei=7, parent=PARENT, parent_bps=1_500, child_bps=500
    )
    call = chain.models.publish(terms, [0, 9], [400_000, 600_000], b"cid")
    packed = (MODEL, 2_000, 7, PARENT, 1_500, 500)
    assert arguments(chain, "publish", call) == (packed, (0, 9), (400_000, 600_000), b"cid")
    alone = chain.models.publish(Terms(model_id=MODEL, publisher_bps=0, price_per_unit_wei=1), [0], [10**6], b"")
    assert arguments(chain, "publish", alone)[0] == (MODEL, 0, 1, NO_PARENT, 0, 0)


def test_a_share_is_claimed_and_challenged_with_the_same_leaf(chain: Chain) -> None:
    share = Share(MODEL, 3, 9, 250_000, (ROOT,))
    leaf = (MODEL, 3, 9, 250_000, (ROOT,))
    assert arguments(chain, "claim", chain.models.claim(share)) == leaf
    assert arguments(chain, "challenge", chain.models.challenge(share)) == leaf
    assert arguments(chain, "claimMany", chain.models.claim_many([share, share])) == ((leaf, leaf),)
    ruled = chain.models.rule(MODEL, [1, 2], [500_000, 500_000], wrong=True)
    assert arguments(chain, "rule", ruled) == (MODEL, True, (1, 2), (500_000, 500_000))


def test_an_account_is_proposed_challenged_and_claimed_alike(chain: Chain) -> None:
    account = Account(PAYER, 20, 5, (Line(MODEL, 1_000), Line(PARENT, 7)))
    packed = (PAYER.lower(), 20, 5, ((MODEL, 1_000), (PARENT, 7)))
    assert arguments(chain, "propose", chain.rewards.propose([account], ROOT)) == ((packed,), ROOT)
    assert arguments(chain, "challenge", chain.rewards.challenge(4, 2, account, [ROOT])) == (4, 2, packed, (ROOT,))
    hashed = lines_hash(account.lines)
    call = chain.rewards.claim(4, 2, account, hashed, [ROOT])
    assert arguments(chain, "claim", call) == (4, (2, PAYER.lower(), 20, 5, hashed), (ROOT,))


def test_a_root_of_another_length_is_refused(chain: Chain) -> None:
    with pytest.raises(ValueError, match="bytes32 needs 32"):
        chain.rewards.propose([Account(PAYER, 1, 1, (Line(b"short", 1),))], ROOT)
    with pytest.raises(ValueError, match="bytes32 needs 32"):
        chain.models.publish(Terms(model_id=b"short", publisher_bps=0, price_per_unit_wei=1), [0], [10**6], b"")


def test_claims_are_open_after_the_window_and_not_under_challenge() -> None:
    plain = dict.fromkeys(Model.__struct_fields__, 0) | {"active_at": 100, "publisher": PAYER}
    model = Model(**plain)  # type: ignore[arg-type]
    assert model.exists
    assert [model.claims_open(now) for now in (99, 100)] == [False, True]
    for phase, opened in ((Phase.STAKED, True), (Phase.CHALLENGED, False), (Phase.CLOSED, True)):
        assert msgspec.structs.replace(model, phase=phase).claims_open(100) is opened
    assert not msgspec.structs.replace(model, publisher=checksum(bytes(20))).exists
