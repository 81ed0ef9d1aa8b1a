"""`kill -9` at every journalled step of a paid call, a settlement, a claim and a rating, between real daemons.

Nothing is listed that a daemon does not tell: an undisturbed round is listened to first, and every step it takes must
be in a list of cuts here (or be none of money's), so a new step cannot be forgotten. What is done is done once: the
sums of the payer, the payee and the chain are one, and the books balance.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.goods import goods
from tests.support.cluster import Cluster, PowerCut
from tests.support.cluster import wait_for as until
from tests.support.killing import around, outbox
from tests.support.works import BUILDER, CALL_WEI, CONTRIBUTOR, GOODS, NAMES, OWN, Works

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

ROOT = Path(__file__).parents[2]
ELSEWHERE = (  # test_kill.py, test_kill_calls.py and test_kill_offer.py
    "buyer ", "seller ", "publication ", "outbox lock", "outbox confirm", "outbox publication",
    "journal WalletService.spend", "journal Confirmations.",
)  # fmt: skip
PAST_THE_DISPUTES_S = 400  # config/networks/devnet.toml: 120 s of chain time, and what offers wait for after closing


CALLING = [
    *around("journal", "Lanes._promise"),
    *around("journal", "ModelCalls.send"),
    *around("journal", "ModelCalls.answered"),
]
SERVING = [*around("journal", "Till._take"), *around("journal", "ModelAccounts.charge")]
SETTLING = [*outbox("settle"), *around("journal", "Takings.settled", skip=1)]  # the first one only looks
RATING = [*around("journal", "FeedbackStore.begin"), *outbox("feedback"), *around("journal", "FeedbackStore.finish")]
RATING_OF_A_MODEL = [cut for cut in RATING if cut.side == "journal"]  # its reward comes later, by epoch
CLAIMS = {
    CONTRIBUTOR: ["bond", "claim:sales", "model:claim"],
    BUILDER: ["claim:feedback", "model:claim", "model:claim:publisher"],
}
MOMENTS = len(outbox(""))
NOT_MONEY = {
    "journal ModelCalls.begin": "opens an empty tab",
    "journal CatalogStore.": "what was heard; it comes again",
    "journal Cursors.set": "where to read on; what was read comes again",
    "journal Counted.": "facts for the reputation, by anybody at any time",
    "outbox standing": "the same, to the chain",
}
QUICK = {
    "journal-before-ModelCalls.answered",
    "journal-after-Till._take",
    "outbox-after-settle-open",
    "outbox-after-settle-sent",
    "outbox-before-settle-done",
}

OUTBOX_ALONE = "tests/integration/test_wallet_kills.py"  # nothing but the outbox knows of the step
# Every function of the node that hands a transaction to the outbox, and where it is killed
SENDERS = {
    "node/wallet/settle.py:_send": "SETTLING",
    "node/wallet/settle.py:_finish": "SETTLING",
    "node/feedback/service.py:_ask_reward": "RATING",
    "node/feedback/rewards.py:_claim": "CLAIMS",
    "node/models/earnings.py:_as_contributor": "CLAIMS",
    "node/models/earnings.py:_as_publisher": "CLAIMS",
    **dict.fromkeys(
        [
            "node/models/earnings.py:_for_parent",
            "node/models/challenges.py:_once",
            "node/models/challenges.py:challenge",
            "node/feedback/rewards.py:_claim_epochs",
            "node/feedback/distributor.py:_propose",
            "node/feedback/distributor.py:_finish",
            "node/feedback/stakes.py:_put_in",
            "node/feedback/stakes.py:unstake",
            "node/feedback/watch.py:_refute",
            "node/exchange/standing.py:count_sales",
            "node/exchange/standing.py:count_fault",
        ],
        OUTBOX_ALONE,
    ),
    "node/exchange/acting.py:_lock": "tests/e2e/test_kill_calls.py",
    "node/exchange/acting.py:_sender": "tests/e2e/test_kill_calls.py",
    "node/exchange/seller.py:_perform": "tests/e2e/test_kill_calls.py",
    "node/exchange/acting.py:_withdraw": "tests/e2e/test_kill_calls.py",
    "node/exchange/acting.py:_reclaim": "tests/e2e/test_kill_calls.py",
    "node/exchange/acting.py:send": "tests/e2e/test_kill_calls.py",
    "node/exchange/batches.py:_carry": "tests/e2e/test_kill_calls.py",
    "node/exchange/batches.py:send": "tests/e2e/test_kill_calls.py",
    "node/models/publishing.py:_put_on_chain": "tests/integration/test_models_chain.py",
    "node/market/offers.py:withdraw": "tests/e2e/test_forget.py",
    "node/market/offers.py:_register": "tests/e2e/test_kill_offer.py",
    "node/market/offers.py:_offer": "tests/e2e/test_kill_offer.py",
    "node/market/erasure.py:_made": "tests/integration/test_erasure.py",
    "node/market/erasure.py:_undo": "tests/integration/test_erasure.py",
    "node/wallet/transact.py:allow": "tests/e2e/test_kill_calls.py",
    "node/wallet/service.py:transfer": "tests/integration/test_wallet_transactions.py",
    "node/wallet/deposits.py:deposit": "tests/e2e/test_kill_calls.py",
    "node/wallet/deposits.py:keep_session": "tests/e2e/test_kill_calls.py",
    "node/wallet/deposits.py:reserve": "tests/e2e/test_kill_calls.py",
    "node/wallet/deposits.py:release": "tests/e2e/test_kill_calls.py",
    "node/wallet/deposits.py:withdraw": "tests/integration/test_wallet_transactions.py",
    "node/wallet/deposits.py:finish_exit": "tests/integration/test_wallet_transactions.py",
}


@pytest.fixture(scope="module")
def opened(cluster: Cluster) -> Works:
    lots = ["heard", "rating", "claims", *(f"claims-{moment}" for moment in range(MOMENTS))]
    own, later = goods(["own"], OWN, seed=13), goods(lots, 6, seed=12)
    first = goods(["first"], GOODS, seed=11)
    return Works(cluster, [item for lot in (*first.values(), *own.values(), *later.values()) for item in lot])


@pytest.fixture
def works(opened: Works) -> Iterator[Works]:
    opened.whole()
    yield opened
    for name in NAMES:
        opened.cluster.disarm(name)


# --- that nothing is forgotten ---


def test_no_step_of_a_round_of_money_is_forgotten(works: Works) -> None:
    for name in NAMES:
        works.cluster.listen(name)
    earn(works, "heard")
    for name in NAMES:
        works.cluster.client(name).call("rewards.claim")
    claiming = {name: [cut for kind in kinds for cut in outbox(kind)] for name, kinds in CLAIMS.items()}
    cuts = {
        CONTRIBUTOR: [*CALLING, *RATING_OF_A_MODEL, *claiming[CONTRIBUTOR]],
        BUILDER: [*SERVING, *SETTLING, *RATING, *claiming[BUILDER]],
    }
    for name in NAMES:
        heard = {step for step in works.cluster.heard(name) if not step.startswith((*ELSEWHERE, *NOT_MONEY))}
        assert heard == {cut.step for cut in cuts[name]}, name


def test_no_function_that_sends_is_forgotten() -> None:
    assert set(senders(ROOT / "node")) == set(SENDERS)
    files = {place for place in SENDERS.values() if "/" in place}
    assert [file for file in files if not (ROOT / file).exists()] == []


def senders(folder: Path) -> Iterator[str]:
    """The functions that call `….once(`, as file:name."""
    for file in sorted(folder.rglob("*.py")):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
                if any(isinstance(call, ast.Attribute) and call.attr == "once" for call in calls):
                    yield f"{file.relative_to(ROOT)}:{function.name}"


# --- calls and their settlement ---


def some(cuts: list[PowerCut]) -> list[Any]:
    """The cuts as cases; all but the telling ones are slow."""
    return [pytest.param(cut, id=cut.name, marks=[] if cut.name in QUICK else pytest.mark.slow) for cut in cuts]


@pytest.mark.parametrize("cut", some(CALLING))
def test_a_caller_who_dies_pays_for_what_he_got_and_one_call_at_most_besides(works: Works, cut: PowerCut) -> None:
    works.call()  # the tab is open
    cut_off(works, CONTRIBUTOR, cut, works.call)


@pytest.mark.parametrize("cut", some(SERVING))
def test_a_provider_who_dies_is_paid_for_what_he_answered(works: Works, cut: PowerCut) -> None:
    cut_off(works, BUILDER, cut, works.call)


@pytest.mark.parametrize("cut", some(SETTLING))
def test_a_settlement_survives(works: Works, cut: PowerCut) -> None:
    works.call()
    cut_off(works, BUILDER, cut, works.settle)


def cut_off(works: Works, name: str, cut: PowerCut, act: Callable[[], None]) -> None:
    """Kill a node while something is done, start it, go on as if nothing had been; the sums must be right."""
    lost = works.lost_wei
    works.cluster.dies_of(name, cut, act)
    works.cluster.start(name)
    until(works.call_answered, "a call after the power cut")
    works.settle()
    until(lambda: works.sent(BUILDER), "the settlement to end")
    works.settle()  # what a crash has left unmarked
    works.assert_exact()
    assert works.lost_wei - lost in (0, CALL_WEI)


# --- claims and ratings ---


@pytest.mark.slow
def test_a_rating_that_is_killed_at_every_step_is_rewarded_once(works: Works) -> None:
    """Each life ends a step further on: the journal has the rating, and a restart goes on with it unasked."""
    deal = works.buy(offer := works.publish("rating"))
    before = works.owed(BUILDER)

    def rate() -> None:
        with suppress(OSError):
            works.builder.call("feedback.give", subject=offer["offer"], receipt=deal, rating=4)

    first, *rest = RATING
    works.cluster.dies_of(BUILDER, first, rate)
    works.cluster.start(BUILDER)
    works.cluster.dies_of(BUILDER, rest[0], rate)
    for cut in rest[1:]:
        works.cluster.dies_of(BUILDER, cut, lambda: works.cluster.start(BUILDER, ready=False))
    works.cluster.start(BUILDER)
    assert works.owed(BUILDER) > before
    works.assert_balanced()


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param([0, 1, 2, 3, 4], id="one-each"),
        *(pytest.param([moment], id=outbox("x")[moment].name, marks=pytest.mark.slow) for moment in range(MOMENTS)),
    ],
)
def test_claims_that_are_killed_at_every_source_bring_everything_once(works: Works, moments: list[int]) -> None:
    earn(works, "claims" if len(moments) > 1 else f"claims-{moments[0]}")
    for name, kinds in CLAIMS.items():
        owed, before = works.owed(name), works.cluster.balance(name)
        for number, kind in enumerate(kinds):
            cut = outbox(kind)[moments[number % len(moments)]]
            works.cluster.dies_of(name, cut, lambda: claim(works, name))  # noqa: B023 - called at once
            works.cluster.start(name)
            until(lambda: works.sent(name), "the claim to end")  # noqa: B023
        works.cluster.client(name).call("rewards.claim")
        assert works.cluster.balance(name) - before == owed
        assert works.owed(name) == 0
    works.assert_balanced()


def earn(works: Works, lot: str) -> None:
    """Something to claim from every source there is, for both."""
    deal = works.buy(offer := works.publish(lot))
    works.call()
    works.settle()
    works.builder.call("feedback.give", subject=offer["offer"], receipt=deal, rating=5)
    works.contributor.call("feedback.give", subject=works.model, receipt="any", rating=5)
    works.contributor.call("offers.withdraw", offer=offer["offer"])
    works.cluster.leap(PAST_THE_DISPUTES_S)


def claim(works: Works, name: str) -> None:
    with suppress(OSError):
        works.cluster.client(name).call("rewards.claim")
