"""The repairs of the substrate: in place for this version, off for another, and they repair what they claim."""

from __future__ import annotations

import pytest
import trio

from node.network import DeadlineExceeded, Dialogue, Network
from node.network.streams import BROKEN
from node.network.substrate import noisewire, substrate
from protocols.ids import PeerId
from tests.support.network import meet

ECHO = "/test/echo/1"


async def echo(_peer: PeerId, body: bytes) -> bytes:
    return body


def test_the_repairs_fit_the_locked_version() -> None:
    assert substrate.mismatch() == "" or substrate._installed
    assert substrate.install() == ""


def test_another_version_or_source_runs_on_stock_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(substrate, "_installed", False)
    monkeypatch.setattr(substrate, "_VERSIONS", {"libp2p": "0.8.0"})
    assert "the repairs are for 0.8.0" in substrate.install()
    monkeypatch.setattr(substrate, "_VERSIONS", {})
    monkeypatch.setattr(substrate, "_SOURCES", {(Network, "request"): "0" * 16})
    assert "Network.request differs" in substrate.install()
    monkeypatch.setattr(substrate, "_SOURCES", {})
    monkeypatch.setattr(substrate, "trial", lambda: "the cipher has changed")
    assert substrate.install() == "the cipher has changed"
    assert not substrate._installed


async def test_a_cancelled_write_leaves_the_connection_usable(alice: Network, bob: Network) -> None:
    """Upstream, a cancellation inside a frame desynchronises the cipher and the next frame ends the connection."""

    async def ignore(_peer: PeerId, dialogue: Dialogue) -> None:
        await trio.sleep_forever()

    bob.serve(ECHO, echo, max_request_bytes=10)
    bob.serve_stream("/test/ignore/1", ignore)
    await meet(alice, bob)
    with pytest.raises(DeadlineExceeded):
        async with alice.open_stream(bob.peer_id, "/test/ignore/1") as dialogue:
            await dialogue.send(bytes(4_000_000), timeout_s=0.2)
    for delay in range(12):
        with trio.move_on_after(delay / 2_000):
            await alice.request(bob.peer_id, ECHO, b"", timeout_s=5, max_reply_bytes=10)
    before = bob.peers()[0].since
    assert await alice.request(bob.peer_id, ECHO, b"still", timeout_s=5, max_reply_bytes=10) == b"still"
    assert bob.peers()[0].since == before  # the same connection


async def test_a_connection_whose_reading_is_cancelled_leaves_no_socket_open(alice: Network, bob: Network) -> None:
    """Upstream, what is cancelled while a host stops keeps its socket."""
    await meet(alice, bob)
    (conn,) = alice.host.get_network().get_connections()
    raw = conn.muxed_conn.secured_conn._session.conn.read_writer.read_write_closer.stream.stream.socket
    conn.muxed_conn._nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        while raw.fileno() != -1:
            await trio.sleep(0.01)


async def test_a_reader_may_pause_longer_than_five_seconds(alice: Network, bob: Network) -> None:
    body = bytes(range(250)) * 8_000

    async def slow(_peer: PeerId, dialogue: Dialogue) -> None:
        await trio.sleep(5.5)  # upstream kills the writer after 5
        await dialogue.send(b"%d" % len(await dialogue.receive(max_bytes=len(body))))

    bob.serve_stream("/test/slow/1", slow)
    await meet(alice, bob)
    async with alice.open_stream(bob.peer_id, "/test/slow/1") as dialogue:
        await dialogue.send(body)
        assert await dialogue.receive(max_bytes=10) == b"2000000"


async def test_a_frame_of_four_gigabytes_ends_the_connection_of_its_sender(
    alice: Network, bob: Network, carol: Network
) -> None:
    """The library's own bound (16 MiB); here so that an upgrade cannot lose it."""
    bob.serve(ECHO, echo, max_request_bytes=10)
    await meet(bob, alice, carol)
    stream = await alice._links.stream(bob.peer_id, ECHO)
    muxed = stream.muxed_stream
    await muxed.conn._write_frame(noisewire.HEADER.pack(0, 0, 0, muxed.stream_id, 0xFFFFFFFF))
    await muxed.conn._write_frame(bytes(65_000))
    with trio.fail_after(5):
        while alice.peer_id in {peer.peer for peer in bob.peers()}:
            await trio.sleep(0.01)
    assert await carol.request(bob.peer_id, ECHO, b"me", timeout_s=5, max_reply_bytes=10) == b"me"


async def test_a_writer_over_its_window_is_disconnected(alice: Network, bob: Network, carol: Network) -> None:
    async def ignore(_peer: PeerId, _dialogue: Dialogue) -> None:
        await trio.sleep_forever()

    bob.serve(ECHO, echo, max_request_bytes=10)
    bob.serve_stream("/test/ignore/1", ignore)
    await meet(bob, alice, carol)
    stream = await alice._links.stream(bob.peer_id, "/test/ignore/1")
    (conn,) = bob.host.get_network().get_connections(alice.host.get_id())
    seen = [0]

    async def overflow() -> None:
        for _ in range(100):  # 6.5 MB, whatever the window says
            stream.muxed_stream.send_window = 1 << 20
            await stream.write(bytes(noisewire.WRITE_BYTES))
            seen.append(sum(map(len, conn.muxed_conn.stream_buffers.values())))
            await trio.sleep(0.001)

    with pytest.raises(BROKEN):
        await overflow()
    assert 0 < max(seen) <= 256 * 1024 + noisewire.WRITE_BYTES
    assert await carol.request(bob.peer_id, ECHO, b"me", timeout_s=5, max_reply_bytes=10) == b"me"
