"""The journal's memory of peers."""

from __future__ import annotations

from pathlib import Path

from node.journal import peers as noun
from node.journal.journal import open_journal
from node.journal.peers import Peers
from protocols.ids import PeerId

ANN, BEN = PeerId("12D3KooWAnn"), PeerId("12D3KooWBen")


async def test_the_one_met_last_comes_first_and_survives_a_restart(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db") as journal:
        await Peers(journal).met(ANN, ["/ip4/127.0.0.1/tcp/1"], 100)
        await Peers(journal).met(BEN, ["/ip4/127.0.0.1/tcp/2"], 200)
    async with open_journal(tmp_path / "journal.db") as journal:
        assert await Peers(journal).good(5) == [(BEN, ("/ip4/127.0.0.1/tcp/2",)), (ANN, ("/ip4/127.0.0.1/tcp/1",))]
        assert len(await Peers(journal).good(1)) == 1


async def test_failures_move_a_peer_back_and_at_last_out(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db") as journal:
        peers = Peers(journal)
        await peers.met(ANN, ["/a"], 100)
        await peers.met(BEN, ["/b"], 200)
        await peers.failed(BEN)
        assert [peer for peer, _ in await peers.good(5)] == [ANN, BEN]
        for _ in range(noun.FORGOTTEN_AFTER - 1):
            await peers.failed(BEN)
        assert [peer for peer, _ in await peers.good(5)] == [ANN]


async def test_meeting_again_clears_the_failures_and_renews_the_addresses(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db") as journal:
        peers = Peers(journal)
        await peers.met(ANN, ["/old"], 100)
        await peers.failed(ANN)
        await peers.met(ANN, ["/new"], 50)
        await peers.met(BEN, ["/b"], 40)
        assert await peers.good(5) == [(ANN, ("/new",)), (BEN, ("/b",))]


async def test_the_number_of_remembered_peers_is_bounded(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db") as journal:
        peers = Peers(journal)
        for number in range(noun.KEPT + 20):
            await peers.met(PeerId(f"peer{number}"), ["/a"], number)
        remembered = await peers.good(10_000)
        assert len(remembered) == noun.KEPT
        assert remembered[0][0] == f"peer{noun.KEPT + 19}"
