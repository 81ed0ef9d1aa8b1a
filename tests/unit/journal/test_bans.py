"""Bans over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.journal import bans as bans_module
from node.journal.bans import KEPT_AFTER_S, Bans
from node.journal.journal import open_journal
from node.network.guard.conduct import Ban
from protocols.ids import PeerId


def ban(name: str, banned_at: int = 1_000, times: int = 1) -> Ban:
    return Ban(PeerId(name), "garbage", banned_at, banned_at + 900, times)


async def test_a_ban_is_there_after_a_restart_and_goes_with_a_pardon(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db") as journal:
        await Bans(journal).remember(ban("foe"))
        await Bans(journal).remember(ban("foe", 2_000, 2))
        await Bans(journal).remember(ban("other", 1_500))
    async with open_journal(tmp_path / "journal.db") as journal:
        kept = Bans(journal)
        assert await kept.all() == [("other", "garbage", 1_500, 2_400, 1), ("foe", "garbage", 2_000, 2_900, 2)]
        await kept.forget(PeerId("foe"))
        assert [entry[0] for entry in await kept.all()] == ["other"]


async def test_old_bans_and_too_many_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bans_module, "KEPT", 5)
    async with open_journal(tmp_path / "journal.db") as journal:
        kept = Bans(journal)
        await kept.remember(ban("ancient"))
        for number in range(8):
            await kept.remember(ban(f"foe{number}", 2_000 + KEPT_AFTER_S + number))
        assert [entry[0] for entry in await kept.all()] == [f"foe{number}" for number in range(3, 8)]
