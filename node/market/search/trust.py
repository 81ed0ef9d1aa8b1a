"""What peers' sketches and scores were worth so far: a factor on what they promise, in memory only."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Container, Mapping, Sequence

from protocols.ids import PeerId

KEPT = 1_024  # peers; the one not met for longest is forgotten first
MEMORY = 0.8  # of the factor stays at every reply: about the last five count
LOWEST, HIGHEST = 0.01, 1.5  # times all that may be wanted, the lowest is less than what anybody is asked for
BROKEN = 2.0  # hits, of which none came: no chance, but a sketch of what is not there
REST = 1.01  # at every search without him: who lied is asked again now and then, and can win it back

# A record's score against that of its preview, on multilingual-e5-small: honest ones differ by 0.013 (standard
# deviation), while a text of any other record lies two thirds of the way to what records score at random.
SCORES_COMPARED = 3
COMPARED_EVERY = 8  # of a peer's replies, and the first: each costs an embedding of three short texts


class Trust:
    """Factors by peer; 1 for who is new."""

    def __init__(self) -> None:
        self._factors: OrderedDict[PeerId, float] = OrderedDict()
        self._replies: Counter[PeerId] = Counter()

    @property
    def factors(self) -> Mapping[PeerId, float]:
        """What each peer's promise is multiplied with."""
        return self._factors

    def came(self, peer: PeerId, expected: float, hits: int) -> None:
        """A peer that was expected to hold `expected` of the best hits held `hits`."""
        if not hits and expected >= BROKEN:
            self._note(peer, self._of(peer) / 2)
            return
        factor = MEMORY * self._of(peer) + (1 - MEMORY) * (hits + 0.5) / (expected + 0.5)
        self._note(peer, factor if hits else min(factor, self._of(peer)))  # nothing raises who brought nothing

    def rested(self, asked: Container[PeerId]) -> None:
        """A search went by that asked others."""
        for peer, factor in self._factors.items():
            if factor < 1 and peer not in asked:
                self._factors[peer] = min(1.0, factor * REST)

    def silent(self, peer: PeerId) -> None:
        """Who was asked and did not answer may be gone: others are asked first for a while."""
        self._note(peer, self._of(peer) / 2)

    def lied(self, peer: PeerId) -> None:
        """Scores that the shown text does not bear out; short previews of honest records may look so once."""
        self._note(peer, self._of(peer) / 2)

    def is_due(self, peer: PeerId) -> bool:
        """Whether to compare this reply's scores with its previews."""
        self._replies[peer] += 1
        return self._replies[peer] % COMPARED_EVERY == 1

    def _of(self, peer: PeerId) -> float:
        return self._factors.get(peer, 1.0)

    def _note(self, peer: PeerId, factor: float) -> None:
        self._factors[peer] = min(HIGHEST, max(LOWEST, factor))
        self._factors.move_to_end(peer)
        if len(self._factors) > KEPT:
            gone, _ = self._factors.popitem(last=False)
            del self._replies[gone]


def overstated(claimed: Sequence[float], shown: Sequence[float], usual: float) -> bool:
    """Whether the shown texts score nearer to `usual`, what any record scores for this query, than to the claim."""
    if len(claimed) < SCORES_COMPARED:
        return False
    return sum(shown) / len(shown) < (sum(claimed) / len(claimed) + usual) / 2
