"""Profiles without a network: what is told of wants, what noise does, how many profiles become one map."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from node.journal import open_journal
from node.journal.demands import Demands
from node.journal.profile_sales import MAX_REPEATS, ProfileSales, Sale
from node.journal.profiles import HISTORY_MOST, HISTORY_S, ProfileStore
from node.market.noise import added
from node.market.profiles.making import FLOOR, MOST, Wanted, summarise, usual_price
from node.market.profiles.map import Told, focus_of, invented, mean_of, singles, want_map
from node.market.profiles.profiles import EDITION_S, Profiles
from node.market.search.sketch import dequantise, quantise
from node.market.supply import Measured, measure
from node.refine.quality import Scale
from protocols.ids import Address, PeerId
from protocols.profile.messages import Profile, Want
from protocols.quality import PPM
from tests.support.embedder import HashEmbedder
from tests.support.items import ALICE
from tests.unit.market.conftest import OpenStall, Stall

DIM = 64
DICE = random.Random(5)
FLAT = Measured(
    Scale(0.0, 0.4), np.zeros((0, DIM), np.float32)
)  # unrelated texts have nothing in common  # unrelated texts have nothing in common


def topic(seed: int, count: int, spread: float = 0.5) -> np.ndarray:
    """Unit vectors around one direction."""
    dice = np.random.default_rng(seed)
    centre = dice.standard_normal(DIM)
    rows = centre / np.linalg.norm(centre) + spread * dice.standard_normal((count, DIM)) / DIM**0.5
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def wanted(*topics: np.ndarray) -> list[Wanted]:
    return [Wanted(vector) for rows in topics for vector in rows]


# --- what is told ---


def test_fewer_wants_than_the_floor_are_left_out() -> None:
    assert summarise(wanted(topic(1, FLOOR - 1)), 0, DICE) == []
    (one,) = summarise(wanted(topic(1, FLOOR)), 0, DICE)
    assert one.wants == FLOOR


def test_the_same_want_many_times_is_one() -> None:
    assert summarise(wanted(topic(1, 1).repeat(100, axis=0), topic(2, FLOOR - 2)), 0, DICE) == []


@pytest.mark.parametrize("count", [5, 9, 10, 23, 80, 400])
def test_every_centroid_stands_for_the_floor_at_least_and_no_want_is_lost(count: int) -> None:
    told = summarise(wanted(topic(1, count - 2), topic(2, 2)), 0, DICE)
    assert sum(one.wants for one in told) == count
    assert len(told) <= MOST
    assert min(one.wants for one in told) >= FLOOR
    assert [one.wants for one in told] == sorted((one.wants for one in told), reverse=True)


def test_two_topics_are_two_centroids() -> None:
    told = summarise(wanted(topic(1, FLOOR), topic(2, FLOOR)), 0, DICE)
    found = {int(max((1, 2), key=lambda n: dequantise(one.vector) @ topic(n, 9).mean(axis=0))) for one in told}
    assert found == {1, 2}


def test_a_price_is_the_lower_median_to_two_digits() -> None:
    assert usual_price([]) == 0
    assert usual_price([7]) == 7
    assert usual_price([1, 1_234, 99_999]) == 1_200
    assert usual_price([10, 20]) == 10


def test_noise_is_shorter_the_more_wants_stand_behind_it() -> None:
    few, many = wanted(topic(1, FLOOR)), wanted(topic(1, 12 * FLOOR))[: 2 * FLOOR - 1]
    plain = dequantise(summarise(few, 0, DICE)[0].vector)
    cosines = [float(dequantise(summarise(few, 40, DICE)[0].vector) @ plain) for _ in range(60)]
    mean = np.mean([one.vector for one in few], axis=0)
    length = DIM / (40 * FLOOR) / float(np.linalg.norm(mean))
    assert np.mean(cosines) == pytest.approx(1 / np.sqrt(1 + length**2), abs=0.03)
    plain_many = dequantise(summarise(many, 0, DICE)[0].vector)
    assert np.mean([dequantise(summarise(many, 40, DICE)[0].vector) @ plain_many for _ in range(60)]) > np.mean(cosines)


# --- the map ---


def told(name: str, *topics: np.ndarray, copies: int = 1, price: int = 10, epsilon: int = 0) -> Told:
    wants = [one for rows in topics for one in summarise([Wanted(v, price) for v in rows], epsilon, DICE)]
    profile = Profile(
        domain="d", model_id="m", sources=["demands"], epsilon=epsilon, floor=FLOOR, calls=0, updated_at=0,
        wants=[Want(vector=w.vector, wants=w.wants * copies, length=w.length, max_price_wei=w.max_price_wei)
               for w in wants],
    )  # fmt: skip
    return Told(Address(name), PeerId(f"peer-{name}"), profile)


def test_what_several_want_is_one_cluster_and_each_has_one_voice() -> None:
    dresses, shoes = topic(1, 3 * FLOOR), topic(2, FLOOR)
    profiles = [
        told("a", dresses[:FLOOR], price=10),
        told("b", dresses[FLOOR : 2 * FLOOR], price=20, copies=50),
        told("c", dresses[2 * FLOOR :], shoes, price=30),
    ]
    first, second = want_map(profiles, FLAT, trust={}, proven={Address("b")})
    assert (first.consumers, first.proven, second.consumers, second.proven) == (3, 1, 1, 0)
    assert first.weight == pytest.approx(2.5)
    assert second.weight == pytest.approx(0.5)
    assert first.wants == FLOOR + 50 * FLOOR + FLOOR
    assert first.max_price_wei == 20
    assert float(first.mean @ dresses.mean(axis=0)) > 0.5 > float(first.mean @ shoes.mean(axis=0))


def test_who_was_caught_has_less_than_a_voice() -> None:
    (cluster,) = want_map([told("a", topic(1, 9))], FLAT, trust={PeerId("peer-a"): 0.25}, proven=())
    assert cluster.weight == pytest.approx(0.25)
    (cluster,) = want_map([told("a", topic(1, 9))], FLAT, trust={PeerId("peer-a"): 1.5}, proven=())
    assert cluster.weight == pytest.approx(1)


def test_a_resold_profile_counts_once() -> None:
    whole = told("a", topic(1, 9), topic(2, 9))
    resold = Told(Address("b"), PeerId("peer-b"), whole.profile)
    assert singles([whole, resold]) == [whole]
    assert sum(one.weight for one in want_map([whole, resold], FLAT, trust={}, proven=())) == pytest.approx(1)


def test_an_invented_profile_is_told_from_public_demands() -> None:
    honest, liar = told("a", topic(1, 9)), told("b", topic(3, 9))
    public = list(topic(1, 5))
    usual = 0.3
    assert not invented(honest, public, usual)
    assert invented(liar, public, usual)
    assert not invented(liar, public[:2], usual), "two demands say nothing"


def test_the_length_of_a_mean_is_told_from_that_of_its_noise() -> None:
    rows, epsilon = topic(1, 40), 30
    true = float(np.linalg.norm(rows[: 2 * FLOOR - 1].mean(axis=0)))
    seen, told_lengths = [], []
    for _ in range(200):
        (one,) = summarise(wanted(rows[: 2 * FLOOR - 1]), epsilon, DICE)
        seen.append(focus_of(mean_of(one), added(DIM, float(epsilon * one.wants))) ** 2)
        told_lengths.append(one.length / PPM)
    assert np.mean(told_lengths) > true, "the noise is at right angles to the mean, nearly"
    assert np.mean(seen) == pytest.approx(true**2, abs=0.02)


def test_the_bar_lies_between_chance_and_what_the_wants_have_to_do_with_one_another() -> None:
    assert FLAT.scale.middle < FLAT.bar(0.0) < FLAT.bar(0.8) < FLAT.bar(0.9, 1.0) <= FLAT.scale.close


def test_noise_averages_out_where_many_want_the_same() -> None:
    dresses = topic(1, 200)
    whole = [told(str(n), dresses[5 * n : 5 * n + 5], epsilon=40) for n in range(40)]
    first = want_map(whole, FLAT, trust={}, proven=())[0]
    alone = want_map(whole[:1], FLAT, trust={}, proven=())[0]
    centre = dresses.mean(axis=0)
    assert first.consumers > 10
    cosines = [float(one.mean @ centre / np.linalg.norm(one.mean) / np.linalg.norm(centre)) for one in (first, alone)]
    assert cosines[0] > cosines[1]


def test_chance_is_measured_between_wants_and_records_where_all_records_are_alike() -> None:
    alike = measure(topic(1, 200))
    assert alike.scale.middle > 0.5
    assert alike.against([topic(n, 9).mean(axis=0) for n in range(2, 9)]).scale.middle < 0.2
    assert alike.against([]) is alike


# --- consent, history, editions ---


class Home(Stall):
    """One owner."""

    profiles: Profiles
    store: ProfileStore
    sales: ProfileSales
    demands: Demands

    async def want(self, *texts: str) -> None:
        for text in texts:
            await self.demands.add(f"{text}-{self.now}", text, "food", 5, self.now)


@pytest.fixture
async def home(open_stall: OpenStall, tmp_path: Path) -> AsyncIterator[Home]:
    async with AsyncExitStack() as stack:
        stall = await stack.enter_async_context(open_stall(ALICE, 1))
        journal = await stack.enter_async_context(open_journal(tmp_path / "own.db"))
        stall.__class__ = Home
        assert isinstance(stall, Home)
        stall.store, stall.demands = ProfileStore(journal), Demands(journal)
        stall.sales = ProfileSales(journal)
        stall.profiles = Profiles(
            embedder=HashEmbedder(), store=stall.store, demands=stall.demands, catalog=stall.catalog,
            gossip=stall.gossip, context=stall.context, events=stall.events, clock=lambda: stall.now,
            dice=random.Random(1),
        )  # fmt: skip
        yield stall


def soups(first: int, count: int) -> list[str]:
    return [f"soup number {n} with {n * n} herbs" for n in range(first, first + count)]


async def body_of(home: Home) -> bytes:
    terms = await home.profiles.terms("food")
    assert terms is not None
    return terms[1].body


async def test_an_edition_stays_for_a_day_and_until_enough_has_changed(home: Home) -> None:
    await home.profiles.sell("food", 7, ["demands"], 100)
    assert await home.profiles.terms("food") is None, "nothing to tell yet"
    await home.want(*soups(0, 12))
    first = await body_of(home)
    await home.want(*soups(12, 12))
    assert await body_of(home) == first, "the same day"
    home.now += EDITION_S
    second = await body_of(home)
    assert second != first
    home.now += EDITION_S
    await home.want(*soups(24, FLOOR - 1))
    embedder = home.profiles._embedder
    assert isinstance(embedder, HashEmbedder)
    before = embedder.embedded
    assert await body_of(home) == second, "the difference would be a few wants"
    assert embedder.embedded == before, "a question that changes nothing costs nothing"
    await home.want(*soups(24 + FLOOR - 1, 1))
    assert await body_of(home) != second


async def test_old_wants_and_withdrawn_ones_are_not_told(home: Home) -> None:
    await home.want(*soups(0, 6))
    home.now += HISTORY_S + 1
    await home.want(*soups(6, 5))
    await home.profiles.sell("food", 7, ["demands"], 0)
    consent = (await home.profiles.consents("food"))[0]
    assert len((await home.profiles._material(consent, home.now)).demands) == 5
    await home.demands.withdraw(f"{soups(6, 1)[0]}-{home.now}")
    assert len((await home.profiles._material(consent, home.now)).demands) == 4


async def test_history_is_bounded_in_number_and_age(home: Home) -> None:
    await home.profiles.sell("food", 7, ["searches"], 0)
    one = quantise(topic(1, 1)[0])
    for _ in range(3):
        assert await home.profiles.noted("searches", "food", one)
    assert not await home.profiles.noted("searches", "shoes", one)
    assert not await home.profiles.noted("calls", "food", b"")
    home.now += HISTORY_S + 1
    await home.profiles.noted("searches", "food", one)
    assert len(await home.store.past("searches", "food", HashEmbedder().model_id, 0)) == 1

    def fill(conn: object) -> None:
        columns = "source, domain, model_id, vector, at"
        sql = f"INSERT INTO profile_history ({columns}) VALUES ('searches', 'food', 'm', x'', ?)"
        conn.executemany(sql, [(home.now,)] * HISTORY_MOST)  # type: ignore[attr-defined]

    await home.store._journal.write(fill)
    await home.profiles.noted("searches", "food", one)
    counted = await home.store._journal.read(
        lambda conn: conn.execute("SELECT count(*) FROM profile_history").fetchone()
    )
    assert counted[0] == HISTORY_MOST


async def test_other_terms_end_a_consent_and_drop_what_they_do_not_cover(home: Home) -> None:
    await home.want(*soups(0, 8))
    await home.profiles.sell("food", 7, ["demands", "searches"], 0)
    await home.profiles.noted("searches", "food", quantise(topic(1, 1)[0]))
    first = await body_of(home)
    home.now += 5
    await home.profiles.sell("food", 9, ["demands"], 50)
    newest, oldest = await home.profiles.consents("food")
    assert (newest.price_wei, newest.ended_at, oldest.price_wei, oldest.ended_at) == (9, 0, 7, home.now)
    assert await home.store.past("searches", "food", HashEmbedder().model_id, 0) == []
    assert await body_of(home) != first


async def test_an_advert_is_renewed_before_it_expires(home: Home) -> None:
    await home.profiles.sell("food", 7, ["demands"], 0)
    (first,) = await home.profiles.consents("food")
    await home.profiles._adverts.tell()
    assert (await home.profiles.consents("food"))[0].advert == first.advert
    home.now += 20 * EDITION_S
    await home.profiles._adverts.tell()
    (later,) = await home.profiles.consents("food")
    assert later.advert not in ("", first.advert)


async def test_what_is_forgotten_has_left_the_disk(home: Home, tmp_path: Path) -> None:
    await home.profiles.sell("food", 7, ["searches"], 0)
    rows = [quantise(vector) for vector in topic(1, 8)]
    for row in rows:
        await home.profiles.noted("searches", "food", row)
    assert await home.profiles.forget() == 8
    whole = b"".join(path.read_bytes() for path in tmp_path.glob("own.db*"))
    assert not any(row in whole for row in rows)


async def test_a_purchase_is_charged_once_and_an_edition_once_to_each(home: Home) -> None:
    await home.want(*soups(0, 8))
    await home.profiles.sell("food", 7, ["demands"], 0)
    terms = await home.profiles.terms("food")
    assert terms is not None
    digest = terms[1].digest

    def sale(query: int, peer: str = "p", digest: bytes = digest) -> Sale:
        return Sale(payer="0xA", query=bytes([query] * 16), peer=peer, domain="food", digest=digest, cost_wei=7)

    async def charge(one: Sale, paid_wei: int) -> str:
        return await home.sales.charge(one, paid_wei=paid_wei, now=home.now)

    assert await charge(sale(1), 6) == "unpaid"
    assert await charge(sale(1, digest=bytes(32)), 7) == "stale"
    assert await charge(sale(1), 7) == "charged"
    assert await charge(sale(1, peer="another"), 7) == "conflict"
    assert [await charge(sale(n), 7) for n in (1, 2, 1)] == ["repeat"] * MAX_REPEATS
    assert await charge(sale(2), 7) == "worn_out"
    assert (await home.sales.served("0xA"), await home.sales.sold("food")) == (7, (1, 7))
    assert await charge(Sale("0xB", bytes(16), "p", "food", digest, 7), 100) == "charged"
    assert await home.sales.served("0xB") == 100, "a first voucher over more was for what an older journal knew"
    await home.profiles.stop("food")
    assert await charge(sale(3), 70) == "over"


def test_the_focus_is_the_length_of_the_mean() -> None:
    """The cosine with a mean's direction is higher with everything: what counts is the mean itself."""
    rows = topic(1, 9, spread=2.0)
    mean = rows.mean(axis=0)
    assert float(mean @ mean) == pytest.approx(float((rows @ rows.T).mean()), abs=1e-5)
    assert int(np.linalg.norm(mean) * PPM) == summarise(wanted(rows), 0, DICE)[0].length
