"""What ratings amount to: how offers, models and datasets stand with those who paid for them.

Only ratings whose ticket the chain confirms count, the newest of each author about each subject; the rest is noise that
anybody can make. A few ratings say little, so each subject begins with PRIOR neutral ones (a Bayesian mean, as in
Evan Miller, "Ranking items with star ratings"). It moves three things: the order in which offers and models are shown
(`weight`), and how much the records of a dataset count in the next training (`lesson`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec
import structlog
import trio

from contracts.chain import Chain
from contracts.errors import ChainError
from node.feedback.ports import Wallet
from node.feedback.tickets import Tickets
from node.market.catalog.catalog import Catalog, Listed
from node.market.kinds import Body
from protocols.feedback.rating import Rating

log = structlog.get_logger(__name__)

PRIOR = 2  # ratings of three stars that everybody starts with
NEUTRAL = 0.5
PULL = 0.1  # what the best against the worst is worth in a ranking: cosines of one domain differ by about as much
WORST_OWN = 2  # stars: what its own buyer rates so low is not trained on again
AT_MOST = {"returned": 0.0, "not_used": NEUTRAL}  # what a rating can be worth when its author did that
AGAIN_S = 30.0


class Standing(msgspec.Struct, frozen=True):
    """`score` from 0 (one star) to 1 (five), drawn towards the middle while `ratings` are few."""

    score: float = NEUTRAL
    ratings: int = 0

    @property
    def stars(self) -> float:
        return round(1 + 4 * self.score, 2)


class Heard(msgspec.Struct, frozen=True):
    """A confirmed rating: whose, how many stars, what became of the thing, when (UTC seconds)."""

    author: str
    rating: int
    outcome: str
    at: int

    @property
    def worth(self) -> float:
        return min((self.rating - 1) / 4, AT_MOST.get(self.outcome, 1.0))


class Standings:
    """All subjects' standings; `read` before asking, or run `tend`."""

    def __init__(self, *, wallet: Wallet, chain: Chain, catalog: Catalog, tickets: Tickets) -> None:
        self._wallet = wallet
        self._chain = chain
        self._catalog = catalog
        self._tickets = tickets
        self._new = trio.Event()
        self._new.set()
        self._turn = trio.Lock()
        self._subjects: dict[str, list[Heard]] = {}
        self._datasets: dict[int, list[Heard]] = {}
        self._sold: dict[int, int] = {}  # offer number → dataset, which never changes

    def heard(self, listed: Listed[Body]) -> None:
        """To be called for every new item of the catalogue."""
        if isinstance(listed.body, Rating):
            self._new.set()

    async def tend(self) -> None:
        """Until cancelled: read again whenever there is something new."""
        while True:
            await self._new.wait()
            try:
                await self.read()
            except ChainError as err:
                self._new.set()
                log.info("ratings wait for the chain", reason=str(err))
                await trio.sleep(AGAIN_S)

    async def read(self) -> None:
        """Count what is new. Raises ChainError; then the old counts stand."""
        async with self._turn:
            if not self._new.is_set():
                return
            self._new = trio.Event()
            subjects: dict[str, list[Heard]] = defaultdict(list)
            datasets: dict[int, list[Heard]] = defaultdict(list)
            try:
                for listed in self._catalog.every(Rating):
                    await self._count(listed, subjects, datasets)
            except ChainError:
                self._new.set()
                raise
            self._subjects = {subject: newest(found) for subject, found in subjects.items()}
            self._datasets = {number: newest(found) for number, found in datasets.items()}

    def of(self, subject: str) -> Standing:
        """How an offer or a model stands."""
        return standing(self._subjects.get(subject, ()))

    def weight(self, subject: str) -> float:
        """What a score in a ranking is multiplied by: 1 for what nobody rated."""
        return 1.0 + PULL * (self.of(subject).score - NEUTRAL)

    def lesson(self, dataset: int) -> float:
        """How much a dataset's records count in the next training: 1 when nobody rated it, ½…1½ by its ratings, 0 when
        this wallet itself found it bad or gave it back.
        """
        found = self._datasets.get(dataset, ())
        mine = self._wallet.address if self._wallet.exists else ""
        if any(one.author == mine and (one.rating <= WORST_OWN or one.outcome == "returned") for one in found):
            return 0.0
        return NEUTRAL + standing(found).score

    async def _count(
        self, listed: Listed[Rating], subjects: dict[str, list[Heard]], datasets: dict[int, list[Heard]]
    ) -> None:
        body = listed.body
        if not await self._tickets.paid(listed):
            return
        heard = Heard(listed.item.signer, body.rating, body.outcome, body.created_at)
        subjects[body.subject].append(heard)
        if body.subject_kind == "offer":
            datasets[await self._dataset(int(body.ticket) >> 64)].append(heard)

    async def _dataset(self, offer_no: int) -> int:
        if offer_no not in self._sold:
            self._sold[offer_no] = (await self._chain.sale.offer_terms(offer_no)).dataset
        return self._sold[offer_no]


def newest(ratings: Iterable[Heard]) -> list[Heard]:
    """The last word of each author."""
    last: dict[str, Heard] = {}
    for one in sorted(ratings, key=lambda one: one.at):
        last[one.author] = one
    return list(last.values())


def standing(ratings: Iterable[Heard]) -> Standing:
    """The Bayesian mean of what ratings are worth."""
    worth = [one.worth for one in ratings]
    return Standing((PRIOR * NEUTRAL + sum(worth)) / (PRIOR + len(worth)), len(worth))
