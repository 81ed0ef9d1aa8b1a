"""Logs: JSON off a terminal, levels by area, no secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from node.observe import log


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_and_area(out: io.StringIO) -> None:
    log.setup(out=out)
    structlog.get_logger("node.market").info("offer seen", offer="0x1")
    (line,) = lines(out)
    assert line.pop("time").endswith("Z")
    assert line == {"event": "offer seen", "level": "info", "area": "node.market", "offer": "0x1"}


def test_an_area_has_its_own_level_and_it_changes_at_once(out: io.StringIO) -> None:
    log.setup("warning", {"node.market": "debug"}, out)
    market, wallet = structlog.get_logger("node.market.offers"), structlog.get_logger("node.wallet")
    market.debug("one")
    wallet.info("two")
    log.set_level("node.wallet", "info")
    wallet.info("three")
    assert [line["event"] for line in lines(out)] == ["one", "three"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(log.UnknownLevel, match="loud"):
        log.set_level("node", "loud")


def test_secrets_are_masked(out: io.StringIO) -> None:
    log.setup(out=out)
    structlog.get_logger("x").info("unlock", passphrase="hunter2", passphrase_file="/p", private_key=b"k")
    assert "hunter2" not in out.getvalue()
    assert lines(out)[0]["passphrase_file"] == "/p"
    assert lines(out)[0]["private_key"] == "***"


def test_other_libraries_come_out_the_same_way(out: io.StringIO) -> None:
    log.setup(out=out)
    logging.getLogger("somelib.part").warning("took %d s", 3)
    logging.getLogger("libp2p.host").error("noise")
    assert [(line["area"], line["event"]) for line in lines(out)] == [("somelib.part", "took 3 s")]


def test_an_exception_is_in_the_line(out: io.StringIO) -> None:
    log.setup(out=out)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        structlog.get_logger("x").exception("broken")
    assert "ZeroDivisionError" in lines(out)[0]["exception"]


def test_a_closed_stream_does_not_raise(out: io.StringIO) -> None:
    log.setup(out=out)
    out.close()
    structlog.get_logger("x").info("into the void")
