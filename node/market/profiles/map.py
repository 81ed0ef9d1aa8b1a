"""Many profiles as one map of demand: clusters of want, their weight, their consumers, what they would pay. Pure.

    centroids of all profiles ── the heaviest lead, those that have to do with them follow ── clusters

Every consumer has one voice: his centroids weigh by their share of his wants, so nobody gains by inventing more of
them. What nobody can rule out is one person with many wallets: `proven` counts the consumers who have spent money on
this chain, and two profiles with a centroid in common, to the byte, are a copy and count once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from node.market.noise import added
from node.market.search.sketch import Vectors, closeness, dequantise
from node.market.supply import OF_WANTS, Measured
from protocols.ids import Address, PeerId
from protocols.offers.offer import Centroid
from protocols.profile.messages import Profile, Want, size
from protocols.quality import PPM
from protocols.wei import parse_wei

COMPARED_LEAST = 3  # public demands of a seller; fewer say nothing of him


class Told(msgspec.Struct, frozen=True):
    """A profile that was bought, and of whom."""

    consumer: Address
    peer: PeerId
    profile: Profile


class Cluster(msgspec.Struct, frozen=True, eq=False):
    """A want that several may share, as the mean of theirs (dim,), with its noise; `focus` is its length without.

    `weight`: the voices for it; `wants`: what they say stands behind it; `max_price_wei`: what half of them, by weight,
    would pay at most, of those that name a price.
    """

    mean: Vectors
    focus: float
    weight: float
    wants: int
    consumers: int
    proven: int
    max_price_wei: int


class _Part(msgspec.Struct, frozen=True, eq=False):
    """A centroid of one profile, with its share of that consumer's voice; `noise`: what the square of its mean's length
    is longer by.
    """

    consumer: Address
    mean: Vectors
    noise: float
    voice: float
    wants: int
    price_wei: int


def singles(told: Sequence[Told]) -> list[Told]:
    """The profiles without copies: of those with a centroid in common only the first."""
    seen: set[bytes] = set()
    kept = []
    for one in told:
        vectors = {want.vector for want in one.profile.wants}
        if not vectors & seen:
            kept.append(one)
        seen |= vectors
    return kept


def want_map(
    told: Sequence[Told], measured: Measured, *, trust: Mapping[PeerId, float], proven: Collection[Address]
) -> list[Cluster]:
    """The clusters of want, heaviest first; `measured` is the embedding model's scale."""
    parts = sorted(
        (part for one in singles(told) for part in _parts(one, min(1.0, trust.get(one.peer, 1.0)))),
        key=lambda part: (-part.voice, part.consumer),
    )
    groups: list[list[_Part]] = []
    merged: list[_Part] = []
    for part in parts:
        place = _place(part, merged, measured)
        if place is None:
            groups.append([part])
            merged.append(part)
        else:
            groups[place].append(part)
            merged[place] = _merged(groups[place])
    clusters = [_cluster(group, whole, proven) for group, whole in zip(groups, merged, strict=True)]
    return sorted(clusters, key=lambda cluster: -cluster.weight)


def invented(told: Told, demands: Sequence[Vectors], usual: float) -> bool:
    """Whether a profile has less to do with what its seller asks for in public than anybody's profile would have.

    `usual` is the mean cosine of these demands to the nearest centroid of the others' profiles.
    """
    if len(demands) < COMPARED_LEAST or not told.profile.wants:
        return False
    return nearness(told, demands) < usual


def nearness(told: Told, demands: Sequence[Vectors]) -> float:
    """The mean cosine of some demands to the nearest centroid of a profile."""
    centroids = [Centroid(vector=want.vector, weight=0, focus=PPM) for want in told.profile.wants]
    return float(np.mean([closeness(vector, centroids) for vector in demands])) if centroids else -1.0


def mean_of(want: Want) -> Vectors:
    """The mean that a centroid was made of, with its noise (dim,)."""
    return dequantise(want.vector) * np.float32(want.length / PPM)


def focus_of(mean: Vectors, noise: float) -> float:
    """The length of a mean without its noise, as far as it can be told."""
    return math.sqrt(max(0.0, float(mean @ mean) - noise))


def _parts(one: Told, voice: float) -> list[_Part]:
    whole = size(one.profile)
    return [
        _Part(
            consumer=one.consumer,
            mean=mean_of(want),
            noise=added(len(want.vector), float(one.profile.epsilon * want.wants)),
            voice=voice * want.wants / whole,
            wants=want.wants,
            price_wei=parse_wei(want.max_price_wei),
        )
        for want in one.profile.wants
    ]


def _place(part: _Part, merged: Sequence[_Part], measured: Measured) -> int | None:
    """The group that a centroid has most to do with; None when it has to do with none."""
    if not merged:
        return None
    own = focus_of(part.mean, part.noise) ** 2
    focus = [((own + focus_of(one.mean, one.noise) ** 2) / 2) ** 0.5 for one in merged]
    above = np.stack([one.mean for one in merged]) @ part.mean - [measured.bar(one, OF_WANTS) for one in focus]
    best = int(above.argmax())
    return best if above[best] >= 0 else None


def _merged(group: Sequence[_Part]) -> _Part:
    """A group as one centroid: its mean by the voices, in which noise averages out."""
    whole = sum(part.voice for part in group)
    shares = [part.voice / whole for part in group]
    mean = sum(part.mean * np.float32(share) for part, share in zip(group, shares, strict=True))
    noise = sum(part.noise * share**2 for part, share in zip(group, shares, strict=True))
    return msgspec.structs.replace(group[0], mean=np.asarray(mean, np.float32), noise=noise)


def _cluster(group: Sequence[_Part], whole: _Part, proven: Collection[Address]) -> Cluster:
    consumers = {part.consumer for part in group}
    return Cluster(
        mean=whole.mean,
        focus=focus_of(whole.mean, whole.noise),
        weight=sum(part.voice for part in group),
        wants=sum(part.wants for part in group),
        consumers=len(consumers),
        proven=len(consumers & set(proven)),
        max_price_wei=_weighted_median([(part.price_wei, part.voice) for part in group if part.price_wei]),
    )


def _weighted_median(priced: Sequence[tuple[int, float]]) -> int:
    half = sum(voice for _, voice in priced) / 2
    passed = 0.0
    for price_wei, voice in sorted(priced):
        passed += voice
        if passed >= half:
            return price_wei
    return 0
