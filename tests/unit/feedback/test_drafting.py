from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.feedback.drafting import Fresh, Terms, draft, within
from node.feedback.epochs import Standing, accounts_of, packed
from protocols.feedback.epoch import MAX_LINES, PPM, check, entitlement
from protocols.ids import checksum

ALICE, BOB = (checksum(bytes([n]) * 20) for n in (1, 2))
TERMS = Terms(fee_bps=250, beta_ppm=800_000)
TOKEN = 10**18


def fresh(payer: str = ALICE, model: int = 1, *, paid: int = 40 * TOKEN, at: int = 100, item: int = 1) -> Fresh:
    return Fresh(checksum(bytes.fromhex(payer[2:])), model.to_bytes(32, "big"), f"{item:064x}", at, paid)


def due(settled: int) -> int:
    return entitlement(settled, TERMS.fee_bps, TERMS.beta_ppm)


def test_a_rating_twice_counts_once_and_its_author_has_one_account():
    made = draft([fresh(item=1), fresh(item=2), fresh(model=2, paid=TOKEN, item=3)], {}, {}, TERMS)
    (account,) = made.accounts
    assert [line.up_to_wei for line in account.lines] == [40 * TOKEN, TOKEN]
    assert account.delta_wei == account.cumulative_wei == due(41 * TOKEN)
    assert made.items == tuple(f"{n:064x}" for n in (1, 2, 3))


def test_what_was_counted_before_stays_and_is_not_due_again():
    before = {ALICE: Standing({(1).to_bytes(32, "big"): 40 * TOKEN}, {(1).to_bytes(32, "big"): 100}, due(40 * TOKEN))}
    assert draft([fresh(paid=60 * TOKEN, at=100)], before, {}, TERMS).accounts == (), "not rated since"
    (account,) = draft([fresh(paid=60 * TOKEN, at=101)], before, {}, TERMS).accounts
    assert (account.cumulative_wei, account.delta_wei) == (due(60 * TOKEN), due(60 * TOKEN) - due(40 * TOKEN))
    (other,) = draft([fresh(model=2, paid=TOKEN)], before, {}, TERMS).accounts
    assert [line.up_to_wei for line in other.lines] == [40 * TOKEN, TOKEN], "all lanes ever rated are in the sum"


def test_what_a_claim_in_the_wrong_order_lost_is_due_again():
    """He claimed ten of fifteen; nothing is open any more: five are still his."""
    before = {ALICE: Standing({(1).to_bytes(32, "big"): 15 * TOKEN}, {(1).to_bytes(32, "big"): 100}, 0)}
    made = draft([fresh(paid=16 * TOKEN, at=101)], before, {ALICE: due(10 * TOKEN)}, TERMS)
    assert made.total_wei == due(16 * TOKEN) - due(10 * TOKEN)


def test_an_account_has_no_more_lines_than_the_contract_takes():
    made = draft([fresh(model=n, paid=n * TOKEN, item=n) for n in range(1, MAX_LINES + 6)], {}, {}, TERMS)
    (account,) = made.accounts
    assert len(account.lines) == MAX_LINES
    assert min(line.up_to_wei for line in account.lines) == 6 * TOKEN, "the poorest are left out"


def test_a_budget_is_never_exceeded_and_the_smallest_come_first():
    made = draft([fresh(), fresh(BOB, paid=4 * TOKEN, item=2)], {}, {}, TERMS)
    kept = within(made, due(4 * TOKEN) + 5)
    assert [(one.payer, one.delta_wei) for one in kept.accounts] == [(ALICE, 5), (BOB, due(4 * TOKEN))]
    assert within(made, 0).accounts == ()


ratings = st.lists(
    st.builds(
        fresh,
        st.sampled_from([ALICE, BOB]),
        st.integers(1, 5),
        paid=st.integers(1, 2**96 // 100),
        at=st.integers(0, 200),
        item=st.integers(0, 99),
    ),
    max_size=12,
)


@given(ratings, st.integers(0, 2**96))
def test_every_draft_has_the_form_the_contract_asks_for(given_ratings, budget):
    made = within(draft(given_ratings, {}, {}, TERMS), budget)
    assert made.total_wei <= budget
    if made.accounts:
        check(made.accounts, TERMS.fee_bps, TERMS.beta_ppm)
    assert accounts_of(packed(made.accounts)) == list(made.accounts)
    for account in made.accounts:
        assert account.delta_wei * PPM <= TERMS.beta_ppm * sum(line.up_to_wei for line in account.lines)
