"""Who is to be rewarded for rating models, from what is known: pure.

A line counts a payer's settled money on a model's lane up to now, if he has rated the model since it was last counted:
each newly settled part asks for a rating of its own, as each purchase of data does. Lines counted before stay, because
an account's sum runs over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from eth_hash.auto import keccak

from node.feedback.epochs import Standing
from protocols.feedback.epoch import MAX_LINES, Account, Line, account_of, ordered
from protocols.ids import Address

MOST_ACCOUNTS = 128  # a proposal: 40 k gas each, a sixth of a block's limit; who is left out is first in the next
NOBODY = Standing({}, {}, 0)


class Fresh(msgspec.Struct, frozen=True):
    """A rating with a good ticket: whose, of which model, the item, when it was given (UTC seconds), and what its
    author has settled on the model's lane ever.
    """

    payer: Address
    model_id: bytes
    item: str
    given_at: int
    paid_wei: int


class Terms(msgspec.Struct, frozen=True):
    """What a reward is of the money it is about."""

    fee_bps: int
    beta_ppm: int


class Draft(msgspec.Struct, frozen=True):
    """A proposal: the accounts as the contract takes them, and the ids of the items they rest on."""

    accounts: tuple[Account, ...]
    items: tuple[str, ...]

    @property
    def total_wei(self) -> int:
        return sum(account.delta_wei for account in self.accounts)

    @property
    def evidence(self) -> bytes:
        """The hash that goes on chain: keccak over the ids, ascending."""
        return keccak(b"".join(bytes.fromhex(item) for item in self.items))


def draft(ratings: Sequence[Fresh], before: Mapping[str, Standing], claimed: Mapping[str, int], terms: Terms) -> Draft:
    """All to whom something new is due, and why. `claimed` is what each payer had of epochs (base units)."""
    by_payer: dict[Address, list[Fresh]] = {}
    for rating in ratings:
        by_payer.setdefault(rating.payer, []).append(rating)
    accounts: list[Account] = []
    items: set[str] = set()
    for payer, given in by_payer.items():
        standing = before.get(payer, NOBODY)
        counting = [rating for rating in given if _is_new(rating, standing)]
        lines = _lines(counting, standing)
        had = claimed.get(payer, 0) + standing.open_wei
        account = account_of(payer, lines, had_wei=had, fee_bps=terms.fee_bps, beta_ppm=terms.beta_ppm)
        if account.delta_wei:
            accounts.append(account)
            items |= {rating.item for rating in counting}
    kept = sorted(accounts, key=lambda account: -account.delta_wei)[:MOST_ACCOUNTS]
    return Draft(tuple(ordered(kept)), tuple(sorted(items)))


def within(made: Draft, budget_wei: int) -> Draft:
    """As much of a draft as a budget has room for, the smallest first; the rest waits until more fees are burnt."""
    kept: list[Account] = []
    left = budget_wei
    for account in sorted(made.accounts, key=lambda account: account.delta_wei):
        delta = min(account.delta_wei, left)
        if delta:
            kept.append(msgspec.structs.replace(account, delta_wei=delta))
            left -= delta
    return Draft(tuple(ordered(kept)), made.items)


def _is_new(rating: Fresh, standing: Standing) -> bool:
    return rating.paid_wei > standing.up_to_wei.get(rating.model_id, 0) and rating.given_at > standing.counted_at.get(
        rating.model_id, -1
    )


def _lines(counting: Sequence[Fresh], standing: Standing) -> list[Line]:
    up_to = dict(standing.up_to_wei)
    for rating in sorted(counting, key=lambda rating: -rating.paid_wei):
        if rating.model_id in up_to or len(up_to) < MAX_LINES:
            up_to[rating.model_id] = max(rating.paid_wei, up_to.get(rating.model_id, 0))
    return [Line(model_id, up_to_wei) for model_id, up_to_wei in up_to.items()]
