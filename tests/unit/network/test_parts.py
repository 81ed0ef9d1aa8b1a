"""The pure parts of the network: addresses, backoff, allowances, slots, lengths."""

from __future__ import annotations

import logging
import random

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from node.network import BadAddress, Refuse
from node.network.addresses import MAX_ADDRESSES, addresses_of, dialable, parse_listen, parse_peer_address
from node.network.blockwire import MAX_MESSAGE_BYTES, MAX_WANTS, Answers, read_length
from node.network.dialing import LONGEST_WAIT_S, next_wait
from node.network.guard.allowance import READ_BURST, READS, Allowance, Metered
from node.network.peers import Hello, PeerBook, check_hello, own_hello
from node.network.serving import WAITING, Slots
from node.network.streams import open_reply, refusal
from protocols.errors import Malformed
from protocols.ids import PeerId
from tests.support.network import options

ANN = PeerId("12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS")
BEN = PeerId("12D3KooWCugzopk9fYBy1pvYVi94Qr2y9PL4CjSpYZUaXir3YWb7")


@pytest.mark.parametrize("host", ["ip4/192.0.2.1", "ip6/2001:db8::1", "dns/example.org", "dns4/example.org"])
def test_a_peer_address_is_split(host: str) -> None:
    peer, target = parse_peer_address(f"/{host}/tcp/4001/p2p/{ANN}")
    assert peer == ANN
    assert str(target) == f"/{host}/tcp/4001"


@pytest.mark.parametrize(
    "text", ["", "ip4/0.0.0.0/tcp/0", "/ip4/1.2.3.4/tcp/99999/p2p/" + ANN, "/" * 300, "/p2p/" + ANN]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_peer_address(text)
    with pytest.raises(BadAddress):
        parse_listen(text)


@given(st.text(max_size=60))
def test_any_other_text_is_an_address_or_refused(text: str) -> None:
    for parse in (parse_listen, parse_peer_address):
        try:
            parse(text)
        except BadAddress:
            continue
        assert "/tcp/" in text


def test_all_interfaces_are_announced_as_addresses_that_can_be_dialled() -> None:
    plain = f"/ip4/192.0.2.7/tcp/4001/p2p/{ANN}"
    assert dialable(plain) == (plain,)
    for wildcard in ("/ip4/0.0.0.0", "/ip6/::"):
        for address in dialable(f"{wildcard}/tcp/4001/p2p/{ANN}"):
            peer, target = parse_peer_address(address)
            assert peer == ANN
            assert str(target) not in (f"{wildcard}/tcp/4001",)
    assert f"/ip4/127.0.0.1/tcp/4001/p2p/{ANN}" in dialable(f"/ip4/0.0.0.0/tcp/4001/p2p/{ANN}")


def test_of_a_peers_claims_only_its_own_dialable_addresses_are_kept() -> None:
    good = [f"/ip4/192.0.2.{n}/tcp/4001/p2p/{ANN}" for n in range(20)]
    claims = [f"/ip4/192.0.2.1/tcp/22/p2p/{BEN}", "nonsense", good[0], *good]
    assert addresses_of(ANN, claims) == tuple(good[:MAX_ADDRESSES])


def test_the_wait_doubles_up_to_a_minute_and_is_spread() -> None:
    rng = random.Random(5)
    waits = [next_wait(failures, rng) for failures in range(1, 2_000)]
    for failures, wait in enumerate(waits[:6]):
        assert 0.75 * 2**failures <= wait <= 1.25 * 2**failures
    assert LONGEST_WAIT_S / 1.5 < max(waits) <= 1.25 * LONGEST_WAIT_S


def test_an_allowance_gives_a_burst_and_then_the_rate() -> None:
    allowance = Allowance(rate=10, burst=5)
    assert [allowance.take(b"a", 100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [allowance.take(b"a", 100.2) for _ in range(3)] == [True, True, False]
    assert allowance.take(b"b", 100.2)  # another's flood costs me nothing
    assert sum(allowance.take(b"a", 1_000.0) for _ in range(100)) == 5


async def test_slots_bound_one_peer_and_all_together() -> None:
    from contextlib import ExitStack

    slots = Slots(concurrency=2, per_peer=2)
    with ExitStack() as held:
        for number in range(2 * (1 + WAITING)):
            held.enter_context(slots.admit(PeerId(f"peer{number // 2}")))
        with pytest.raises(Refuse, match="too many"):
            held.enter_context(slots.admit(PeerId("peer0")))
        with pytest.raises(Refuse, match="too many"):
            held.enter_context(slots.admit(PeerId("another")))
    with slots.admit(PeerId("another")):
        pass


def test_a_hello_of_another_network_or_chain_is_refused() -> None:
    mine = options()
    check_hello(own_hello(mine, []), mine)
    for other in (options(network_id="x" * 5_000), options(chain_id=2)):
        with pytest.raises(Refuse) as caught:
            check_hello(Hello(network=other.network_id, chain_id=other.chain_id, version="", listen=[]), mine)
        assert caught.value.kind == "foreign_network"
        assert len(str(caught.value)) < 200


def test_introductions_do_not_name_the_asker_nor_peers_without_an_address() -> None:
    from node.network import Peer

    events: list[str] = []
    book = PeerBook(lambda name, _data: events.append(name))
    address = (f"/ip4/192.0.2.1/tcp/4001/p2p/{ANN}",)
    book.add(Peer(ANN, address, False, "1", 0))
    book.add(Peer(ANN, address, False, "1", 5))
    book.add(Peer(BEN, (), True, "1", 0))
    assert events == ["peer.connected", "peer.connected"]  # one each, none for a renewal
    assert [intro.peer for intro in book.introductions(BEN, lambda _peer: True)] == [ANN]
    assert book.introductions(ANN, lambda _peer: True) == []
    assert book.introductions(PeerId("x"), BEN.__eq__) == []


@given(st.binary(max_size=40))
def test_a_reply_is_a_body_a_refusal_or_malformed(reply: bytes) -> None:
    from node.network import PeerRefused

    try:
        body = open_reply(ANN, reply)
    except (Malformed, PeerRefused):
        assert reply[:1] != b"\x00"
    else:
        assert reply == b"\x00" + body


def test_a_refusal_is_cut_to_its_bound() -> None:
    assert len(refusal("k" * 500, "r" * 5_000)) < 600


@given(st.binary(max_size=12))
def test_a_message_length_is_read_or_refused(raw: bytes) -> None:
    ahead = bytearray(raw)
    try:
        length = read_length(ahead)
    except ValueError:
        return
    if length is None:
        assert ahead == raw
        assert len(raw) < 5
        assert all(byte & 0x80 for byte in raw)
    else:
        assert 0 <= length <= MAX_MESSAGE_BYTES
        assert raw.endswith(ahead)


async def test_the_wants_of_a_peer_are_bounded_and_answered_in_order() -> None:
    answers = Answers()
    for number in range(MAX_WANTS + 50):
        answers.want(b"%d" % number, have_only=False, say_no=True)
    answers.want(bytes(65), have_only=False, say_no=True)  # no CID is that long
    answers.cancel(b"0")
    taken = []
    while want := answers.take():
        taken.append(want[0])
    assert taken == [b"%d" % number for number in range(1, MAX_WANTS)]


async def test_a_metered_stream_is_read_at_its_rate(autojump_clock: trio.testing.MockClock) -> None:
    class Endless:
        protocol = "/x"

        async def read(self, n: int | None = None) -> bytes:
            await trio.lowlevel.checkpoint()
            return b"\0"

    stream = Metered(Endless())
    assert stream.protocol == "/x"
    start = trio.current_time()
    for _ in range(int(READ_BURST + 10 * READS)):
        assert await stream.read(1) == b"\0"
    assert 9.9 < trio.current_time() - start < 11


def test_what_libp2p_says_goes_to_the_log_of_the_process(caplog: pytest.LogCaptureFixture) -> None:
    """Else the interpreter prints it to the terminal as it is."""
    logging.getLogger("libp2p.network.swarm").error("fail to upgrade mux")
    assert "fail to upgrade mux" in caplog.text
