"""Memory for what is on its way."""

from __future__ import annotations

from node.blocks.room import BASE_RUNS, MOST_RUNS, RUN_BYTES, SHARED_RUNS, Line, Room


def test_what_all_share_is_given_once() -> None:
    room = Room(10)
    assert room.take(7) == 7
    assert room.take(7) == 3
    assert room.take(7) == 0
    assert room.take(-5) == 0
    room.give_back(10)
    assert room.left == 10


def under_way(round_trip_s: float, line_bytes_per_s: float) -> int:
    """Where the room ends when a provider gives what is under way in a round trip, or as much as the line carries."""
    line, now, runs = Line(round_trip_s, 0.0), 0.0, BASE_RUNS
    for _ in range(20):
        count = min(runs * RUN_BYTES, round(line_bytes_per_s * round_trip_s))
        now += round_trip_s
        runs = max(runs, line.came(count, now))
    return runs


def test_a_short_line_stays_at_the_base() -> None:
    assert under_way(0.002, 400e6) == BASE_RUNS


def test_a_long_line_gets_twice_what_it_holds() -> None:
    assert 2 * 0.1 * 100e6 / RUN_BYTES <= under_way(0.1, 100e6) <= 2 * 0.1 * 100e6 / RUN_BYTES + 3


def test_there_is_a_most() -> None:
    assert under_way(2.0, 1e9) == MOST_RUNS
    assert MOST_RUNS <= SHARED_RUNS


def test_between_two_round_trips_nothing_is_said() -> None:
    line = Line(0.1, 0.0)
    assert line.came(1 << 30, 0.05) == 0
    assert line.came(1, 0.1) == MOST_RUNS
    assert line.came(1, 0.1) == 0
