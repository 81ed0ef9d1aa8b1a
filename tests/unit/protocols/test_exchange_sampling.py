from __future__ import annotations

import hashlib
import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import RuleBroken
from protocols.exchange.messages import MAX_OPENINGS, Opening
from protocols.exchange.sampling import (
    Claim,
    Measured,
    Tolerances,
    judge_sample,
    open_sample,
    pass_probability,
    sample_block,
    sample_count,
    sample_indices,
    scatter,
)
from protocols.sealed import Record, WrongKey, cell_key, parse, record_id, seal
from tests.support import hostile

CK = bytes(range(32))
ROOT = hashlib.sha256(b"root").digest()
RECORDS = [Record(id=record_id("", f"row {n} " * 40), text=f"row {n} " * 40) for n in range(300)]
SEALED = seal(RECORDS, CK, 512)
CLAIM = Claim({"validity": 900_000, "density": 700_000}, {"en": 900_000, "de": 100_000}, records=1_000, cells=100)
FOUND = Measured(
    {"validity": 880_000, "density": 720_000}, {"en": 850_000, "de": 150_000}, records_milli=60_000, opened=6
)

block_hashes = st.binary(min_size=32, max_size=32)


def found(**changes: object) -> Measured:
    return msgspec.structs.replace(FOUND, **changes)


@given(block_hashes, st.integers(1, 5_000), st.data())
def test_a_sample_is_distinct_within_range_and_deterministic(
    block_hash: bytes, cells: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, min(cells, 64)))
    indices = sample_indices(block_hash, ROOT, cells, count)
    assert len(set(indices)) == count
    assert indices == sorted(indices) == sample_indices(block_hash, ROOT, cells, count)
    assert 0 <= indices[0] <= indices[-1] < cells


def test_another_block_or_root_gives_another_sample() -> None:
    one = sample_indices(bytes(32), ROOT, 10_000, 20)
    assert one != sample_indices(b"\1" + bytes(31), ROOT, 10_000, 20)
    assert one != sample_indices(bytes(32), bytes(32), 10_000, 20)


def test_golden_sample() -> None:
    assert sample_indices(bytes(range(32)), ROOT, 1_000, 8) == [64, 129, 178, 275, 302, 629, 743, 831]


def test_every_cell_is_equally_likely() -> None:
    """Chi-square over 7 cells, 3 of them drawn 4,000 times: 22.46 is the 0.1 % bound for 6 degrees of freedom."""
    counts: Counter[int] = Counter()
    for n in range(4_000):
        counts.update(sample_indices(hashlib.sha256(n.to_bytes(4, "big")).digest(), ROOT, 7, 3))
    due = 4_000 * 3 / 7
    assert sum((counts[cell] - due) ** 2 / due for cell in range(7)) < 22.46


def test_every_subset_is_equally_likely() -> None:
    counts: Counter[tuple[int, ...]] = Counter()
    for n in range(6_000):
        counts[tuple(sample_indices(hashlib.sha256(b"s" + n.to_bytes(4, "big")).digest(), ROOT, 5, 2))] += 1
    assert len(counts) == 10
    assert sum((seen - 600) ** 2 / 600 for seen in counts.values()) < 27.88  # 0.1 % bound, 9 degrees of freedom


@pytest.mark.parametrize(("count", "cells"), [(0, 5), (6, 5)])
def test_an_impossible_sample_is_refused(count: int, cells: int) -> None:
    with pytest.raises(ValueError, match="cannot be sampled"):
        sample_indices(bytes(32), ROOT, cells, count)


def test_one_cell_of_sixteen_is_opened_within_the_cap() -> None:
    assert [sample_count(cells) for cells in (1, 15, 32, 64, 1_024, 100_000)] == [1, 1, 2, 4, 64, 64]
    assert sample_count(100_000, cap=10_000) == MAX_OPENINGS
    assert sample_count(100_000, cap=3) == 3


def test_the_sample_comes_from_a_block_after_the_offer() -> None:
    assert sample_block(100) > 101


def test_a_tenth_of_junk_is_all_but_sure_to_be_seen() -> None:
    assert pass_probability(100_000, 64) == pytest.approx(0.00118, rel=0.01)
    assert pass_probability(0, 64) == 1
    assert pass_probability(1_000_000, 1) == 0


# --- opening ---


def openings(indices: list[int]) -> list[Opening]:
    return [Opening(cell=i, key=cell_key(CK, i)) for i in indices]


def test_an_honest_sample_is_read() -> None:
    payload = parse(SEALED.payload)
    indices = sample_indices(bytes(32), SEALED.root, SEALED.cells, 4)
    sample = open_sample(payload, indices, openings(indices))
    assert sample.records
    assert all(record in RECORDS for record in sample.records)
    assert (sample.records_milli, sample.opened, sample.unreadable) == (1_000 * len(sample.records), 4, 0)


def test_other_cells_than_the_chosen_are_refused() -> None:
    stolen = [Opening(cell=cell, key=key) for cell, key in hostile.stolen_sample(CK, [2, 5])]
    with pytest.raises(RuleBroken, match="other cells"):
        open_sample(parse(SEALED.payload), [2, 5], stolen)
    with pytest.raises(RuleBroken, match="other cells"):
        open_sample(parse(SEALED.payload), [2, 5], openings([2]))


def test_a_key_that_is_not_the_committed_one_is_refused() -> None:
    with pytest.raises(WrongKey):
        open_sample(parse(SEALED.payload), [2], [Opening(cell=2, key=bytes(32))])


def test_committed_junk_counts_as_unreadable() -> None:
    junk = hostile.seal_junk(RECORDS, CK, 512, junk={2})
    sample = open_sample(parse(junk.payload), [2, 5], openings([2, 5]))
    assert (sample.unreadable, sample.opened) == (1, 2)
    assert sample.records


def test_a_piece_of_a_long_record_is_read_and_counts_as_a_fraction() -> None:
    text = " ".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(60))
    sealed = seal([Record(id=record_id("", text), text=text)], CK, 512)
    sample = open_sample(parse(sealed.payload), [1], openings([1]))
    assert sample.records[0].text in text
    assert sample.records_milli == 1_000 // sealed.cells


# --- judging ---


def test_a_sample_as_claimed_passes() -> None:
    assert judge_sample(CLAIM, FOUND, Tolerances()).ok


def test_better_than_claimed_passes() -> None:
    better = found(quality={"validity": 1_000_000, "density": 1_000_000}, records_milli=600_000)
    assert judge_sample(CLAIM, better, Tolerances()).ok


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (found(opened=0), "no cell"),
        (found(unreadable=1), "1 of 6 opened cells hold no records"),
        (found(records_milli=20_000), "20.0 records in 6 cells where the offer's count gives 60.0"),
        (found(quality={"validity": 700_000, "density": 700_000}), "validity is 0.70 in the sample, 0.90 was claimed"),
        (found(quality={"validity": 900_000}), "density was claimed and could not be measured"),
        (found(languages={"fr": 1_000_000}), "0% of the sample is en, 90% was claimed"),
    ],
)
def test_worse_than_claimed_is_refused_with_its_reason(measured: Measured, reason: str) -> None:
    verdict = judge_sample(CLAIM, measured, Tolerances())
    assert not verdict.ok
    assert reason in "; ".join(verdict.reasons)


def test_all_reasons_are_told() -> None:
    verdict = judge_sample(CLAIM, Measured({}, {}, records_milli=0, opened=2, unreadable=2), Tolerances())
    assert len(verdict.reasons) == 4  # without a record there is no share of a language to judge


def test_a_component_this_node_does_not_measure_is_skipped() -> None:
    lenient = Tolerances(unchecked=("density",))
    assert judge_sample(CLAIM, found(quality={"validity": 900_000}), lenient).ok


@given(st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_judgement_is_monotone_in_what_was_measured(lower: int, higher: int) -> None:
    lower, higher = sorted((lower, higher))
    claim = msgspec.structs.replace(CLAIM, quality={"validity": 800_000})
    worse = judge_sample(claim, found(quality={"validity": lower}), Tolerances())
    better = judge_sample(claim, found(quality={"validity": higher}), Tolerances())
    assert better.ok or not worse.ok


def test_a_small_honest_sample_is_given_room_and_a_large_one_is_not() -> None:
    below = {"density": CLAIM.quality["density"] - 300_000, "validity": CLAIM.quality["validity"]}
    small = Measured(below, CLAIM.languages, records_milli=10_000, opened=1)
    large = Measured(below, CLAIM.languages, records_milli=1_000_000, opened=100)
    assert judge_sample(CLAIM, small, Tolerances()).ok
    assert "density" in " ".join(judge_sample(CLAIM, large, Tolerances()).reasons)


def test_scatter_is_hoeffdings_bound() -> None:
    assert scatter(0) == scatter(1) == 1_000_000
    assert scatter(230) == pytest.approx(100_000, rel=0.01)  # exp(-2 * 230 * 0.1^2) = 0.01


def test_a_small_sample_has_the_room_that_chance_takes_and_a_large_one_little() -> None:
    assert scatter(0) == scatter(1) == 1_000_000
    assert scatter(25) == pytest.approx(303_000, abs=1_000)  # sqrt(ln 100 / 50)
    assert scatter(10_000) < 20_000


def test_an_honest_offer_is_refused_at_most_one_time_in_a_hundred() -> None:
    """Records are good or bad like a coin, which scatters most: the bound must hold even so."""
    draw, refused = random.Random(3), 0
    for _ in range(2_000):
        mean = sum(draw.random() < 0.5 for _ in range(40)) * 1_000_000 // 40
        claim = Claim({"validity": 500_000}, {}, records=40, cells=1)
        seen = Measured({"validity": mean}, {}, records_milli=40_000, opened=1)
        refused += not judge_sample(claim, seen, Tolerances(quality=0)).ok
    assert refused <= 20


def test_a_dataset_of_which_half_is_rubbish_is_seen_through_by_a_hundred_records() -> None:
    claim = Claim({"validity": 900_000}, {}, records=100, cells=4)
    seen = Measured({"validity": 450_000}, {}, records_milli=100_000, opened=4)
    assert not judge_sample(claim, seen, Tolerances()).ok
