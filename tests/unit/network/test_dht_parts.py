"""The parts of the DHT without a network: bytes on the wire, the search, the records and their bounds."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from multiaddr import Multiaddr

from node.network.dht import addresses as ids
from node.network.dht import wire
from node.network.dht.records import Records
from node.network.dht.table import FROM_ONE, MAX_ASKED, K, Lookup, Table, place, point
from node.network.dht.walk import WITNESSES, Gathered, heard_from
from node.network.dht.wire import Answer, Contact
from protocols.errors import BadIdentifier, Malformed
from protocols.ids import PeerId

Message: Any = vars(wire)["Message"]  # the library's; imported where its import warnings are handled


def peer(number: int) -> PeerId:
    return ids.name_of(b"\x12\x20" + hashlib.sha256(str(number).encode()).digest())


def contact(number: int, host: str = "/ip4/10.0.0.1") -> Contact:
    name = peer(number)
    return Contact(name, (f"{host}/tcp/{1_000 + number}/p2p/{name}",))


PEERS = [contact(number) for number in range(120)]
ME = PEERS[0].peer

# -- the wire


@pytest.mark.parametrize(
    "text", ["/ip4/192.0.2.7/tcp/4780", "/ip6/2001:db8::7/tcp/65535", "/dns4/node.example.org/tcp/1", "/dns/a/tcp/4001"]
)
def test_addresses_are_written_and_read_as_the_library_does(text: str) -> None:
    whole = f"{text}/p2p/{ME}"
    assert ids.address_bytes(whole) == Multiaddr(text).to_bytes()
    assert ids.address_text(Multiaddr(text).to_bytes(), ME) == whole
    assert ids.address_text(Multiaddr(whole).to_bytes(), ME) == whole


def test_a_way_through_a_relay_is_written_and_read_as_the_library_does() -> None:
    text = f"/ip4/192.0.2.7/tcp/4780/p2p/{PEERS[1].peer}/p2p-circuit"
    whole = f"{text}/p2p/{ME}"
    assert ids.address_bytes(whole) == Multiaddr(text).to_bytes()
    assert ids.address_text(Multiaddr(text).to_bytes(), ME) == whole
    assert ids.address_text(Multiaddr(whole).to_bytes(), ME) == whole


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x04\x7f",
        Multiaddr("/ip4/127.0.0.1").to_bytes(),
        Multiaddr("/ip4/127.0.0.1/tcp/0").to_bytes(),
        Multiaddr("/ip4/127.0.0.1/udp/4001/quic-v1").to_bytes(),
        Multiaddr("/ip4/127.0.0.1/tcp/4001/ws").to_bytes(),
        Multiaddr(f"/ip4/127.0.0.1/tcp/4001/p2p/{PEERS[1].peer}").to_bytes(),
        Multiaddr(f"/ip4/127.0.0.1/tcp/4001/p2p/{ME}/p2p-circuit").to_bytes(),
        Multiaddr(f"/ip4/127.0.0.1/tcp/4001/p2p/{PEERS[1].peer}/p2p-circuit/p2p/{PEERS[2].peer}").to_bytes(),
        Multiaddr(f"/ip4/127.0.0.1/tcp/4001/p2p/{PEERS[1].peer}").to_bytes()[:-1],
        b"\x36\xff\xff\xff\xff\xff\xff\xff" + bytes(20),
        b"\x36\x09a/../b/c\x00\x06\x10\x00",
        Multiaddr("/ip4/127.0.0.1/tcp/4001").to_bytes() + bytes(400),
    ],
)
def test_an_address_that_cannot_be_dialled_is_dropped(raw: bytes) -> None:
    assert ids.address_text(raw, ME) == ""


def test_messages_are_the_librarys_and_come_back() -> None:
    key = hashlib.sha256(b"key").digest()
    framed = wire.answer(wire.GET_PROVIDERS, key, PEERS[:3], PEERS[3:5])
    message = Message()
    message.ParseFromString(framed[2:])
    assert message.key == key
    assert [ids.name_of(one.id) for one in message.closerPeers] == [one.peer for one in PEERS[:3]]
    assert wire.read_answer(framed[2:]) == Answer(tuple(PEERS[:3]), tuple(PEERS[3:5]))
    asked = wire.read_question(wire.question(wire.ADD_PROVIDER, key, PEERS[:1])[1:])
    assert asked == (wire.ADD_PROVIDER, key, tuple(PEERS[:1]))


def test_a_list_of_ten_thousand_peers_counts_as_its_first_twenty() -> None:
    message = Message(type=wire.GET_PROVIDERS, key=b"k")
    for number in range(10_000):
        message.providerPeers.add(id=b"\x12\x20" + hashlib.sha256(str(number).encode()).digest())
        message.closerPeers.add(id=bytes(number % 60), addrs=[b"\x04"])
    answer = wire.read_answer(message.SerializeToString())
    assert len(answer.providers) == wire.MAX_PEERS
    assert answer.closer == ()


@pytest.mark.parametrize(
    "message",
    [
        Message(type=Message.PUT_VALUE, key=b"k"),
        Message(type=Message.GET_VALUE, key=b"k"),
        Message(type=Message.PING),
        Message(type=Message.FIND_NODE),
        Message(type=Message.FIND_NODE, key=bytes(wire.MAX_KEY_BYTES + 1)),
    ],
)
def test_only_what_provider_records_need_is_answered(message: Any) -> None:
    with pytest.raises(Malformed):
        wire.read_question(message.SerializeToString())


def test_a_peer_id_that_is_none_is_refused() -> None:
    for raw in (b"", b"\x00", b"\x12\x20" + bytes(31), b"\x00\x24" + bytes(35), b"\x00\x60" + bytes(96), b"\x16" * 34):
        with pytest.raises(BadIdentifier):
            ids.name_of(raw)


class Pipe:
    """A stream that gives what it was made of, a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = data, step

    async def read(self, _n: int) -> bytes:
        piece, self._data = self._data[: self._step], self._data[self._step :]
        return piece


@pytest.mark.parametrize("step", [1, 7, 1_000])
async def test_messages_are_read_one_by_one_however_they_come(step: int) -> None:
    key = b"\x12\x20" + bytes(32)
    sent = [wire.answer(wire.FIND_NODE, key, PEERS[:n]) for n in (0, 1, 20)]
    pipe, ahead = Pipe(b"".join(sent), step), bytearray()
    for whole in sent:
        raw = await wire.receive(pipe, ahead, 1 << 16)
        assert raw is not None
        assert whole.endswith(raw)
    assert await wire.receive(pipe, ahead, 1 << 16) is None


@pytest.mark.parametrize("start", [b"\xff\xff\xff\xff\x0f", b"\x81\x80\x01", b"\xff" * 12])
async def test_a_length_over_the_bound_is_refused_before_a_byte_of_the_body(start: bytes) -> None:
    with pytest.raises(Malformed):
        await wire.receive(Pipe(start, 100), bytearray(), wire.MAX_REQUEST_BYTES)


# -- the search


def simulate(lookup: Lookup, answers: Callable[[PeerId], list[Contact] | None]) -> list[PeerId]:
    """Run a search; `answers` gives what a peer names, None when it does not answer. Whom it asked."""
    asked = []
    while (one := lookup.next()) is not None:
        asked.append(one.peer)
        named = answers(one.peer)
        if named is None:
            lookup.failed(one.peer)
        else:
            lookup.answered(one.peer, named)
    assert lookup.done
    return asked


def neighbours(of: PeerId, everybody: list[Contact]) -> Table:
    table = Table(of)
    for one in everybody:
        table.add(one)
    return table


def test_a_search_finds_the_nearest_of_all() -> None:
    target = point(b"key")
    tables = {one.peer: neighbours(one.peer, random.Random(one.peer).sample(PEERS, 60)) for one in PEERS}
    lookup = Lookup(target, PEERS[1:4], ME)
    simulate(lookup, lambda name: tables[name].nearest(target, K))
    right = sorted(PEERS[1:], key=lambda one: place(one.peer) ^ target)[:K]
    found = {one.peer for one in lookup.nearest()}
    assert len(found & {one.peer for one in right}) >= K - 2


def test_who_names_peers_that_are_not_there_is_believed_no_more() -> None:
    """A liar makes up twenty peers nearer than anybody; the search loses a few questions and nothing else."""
    target, liar, honest = point(b"key"), PEERS[1], PEERS[2]
    ghosts = sorted((contact(number) for number in range(1_000, 3_000)), key=lambda one: place(one.peer) ^ target)[:K]

    def answers(name: PeerId) -> list[Contact] | None:
        if name == liar.peer:
            return ghosts
        if name in {ghost.peer for ghost in ghosts}:
            return None
        return PEERS[3:23]

    lookup = Lookup(target, [liar, honest], ME)
    asked = simulate(lookup, answers)
    assert len([name for name in asked if name in {ghost.peer for ghost in ghosts}]) <= 4
    assert len({one.peer for one in PEERS[3:23]} & set(asked)) >= K - 2


def test_a_search_ends_however_many_peers_are_named() -> None:
    """Every peer of an endless crowd answers, and names twenty more that are nearer."""
    crowd = iter(sorted((contact(n) for n in range(4_000, 6_500)), key=lambda one: -(place(one.peer) ^ point(b"k"))))
    asked = simulate(Lookup(point(b"k"), PEERS[1:3], ME), lambda _name: [next(crowd) for _ in range(K)])
    assert len(asked) == MAX_ASKED


def test_a_search_never_asks_ourselves_nor_anybody_twice() -> None:
    asked = simulate(Lookup(0, PEERS[:5], ME), lambda _name: PEERS[:10])
    assert ME not in asked
    assert len(asked) == len(set(asked)) == 9


def test_a_table_keeps_who_was_there_first_until_they_fail() -> None:
    table = Table(ME)
    for one in PEERS:
        table.add(one)
    held = {one.peer for one in table.nearest(0, 1_000)}
    far = [one for one in PEERS[1:] if (place(one.peer) ^ place(ME)).bit_length() == 256]
    assert [one.peer in held for one in far[: K + 1]] == [True] * K + [False]
    table.failed(far[0].peer)
    table.add(far[K])
    assert table.get(far[K].peer) == far[K]
    assert table.get(ME) is None


# -- the records


def test_records_run_out_unless_they_are_renewed() -> None:
    records = Records(lambda _peer: True, lifetime_s=10)
    assert records.add(b"k", PEERS[1].peer, 0)
    assert records.add(b"k", PEERS[2].peer, 0)
    assert records.add(b"k", PEERS[1].peer, 9)
    assert records.providers(b"k", 12) == [PEERS[1].peer]
    records.sweep(100)
    assert len(records) == 0


def test_one_peer_fills_no_more_than_its_share() -> None:
    records = Records(lambda _peer: True, of_peer=100)
    taken = [records.add(str(number).encode(), PEERS[1].peer, 0) for number in range(10_000)]
    assert sum(taken) == len(records) == 100


def test_ten_thousand_providers_of_one_key_leave_room_for_who_is_connected() -> None:
    connected = {PEERS[50].peer}
    records = Records(connected.__contains__, of_key=32)
    for number in range(10_000):
        records.add(b"k", PeerId(f"sybil {number}"), 0)
    assert len(records) == 32
    assert records.add(b"k", PEERS[50].peer, 1)
    for number in range(10_000):
        records.add(b"k", PeerId(f"another {number}"), 2)
    assert PEERS[50].peer in records.providers(b"k", 3)
    assert len(records) == 32


def test_when_all_is_full_the_greediest_makes_room() -> None:
    records = Records(lambda _peer: True, most=100, of_peer=90)
    for number in range(90):
        records.add(f"a{number}".encode(), PEERS[1].peer, 0)
    for number in range(30):
        assert records.add(f"b{number}".encode(), PEERS[2].peer, 0)
    assert len(records) == 100
    assert records.providers(b"a0", 0) == []
    assert records.providers(b"a89", 0) == [PEERS[1].peer]


def test_a_store_of_equals_takes_nobody_more() -> None:
    records = Records(lambda _peer: True, most=10)
    taken = [records.add(str(number).encode(), PeerId(f"one {number}"), 0) for number in range(20)]
    assert taken == [True] * 10 + [False] * 10


# -- what several say


def test_whom_more_peers_name_stands_first_and_nobody_fills_the_list_alone() -> None:
    gathered, honest = Gathered(), PEERS[40]
    gathered.hear(PEERS[1].peer, PEERS[60:80])
    assert not gathered.enough(8)
    gathered.hear(PEERS[2].peer, [honest])
    gathered.hear(PEERS[3].peer, [honest])
    assert gathered.enough(8)
    assert gathered.best(8)[0] == honest
    assert WITNESSES == 3


def test_addresses_that_most_name_come_first() -> None:
    gathered, honest = Gathered(), PEERS[40]
    lies = tuple(f"/ip4/10.9.9.{n}/tcp/1/p2p/{honest.peer}" for n in range(20))
    gathered.hear(PEERS[1].peer, [Contact(honest.peer, lies)])
    gathered.hear(PEERS[2].peer, [honest])
    gathered.hear(PEERS[3].peer, [honest])
    (found,) = gathered.best(1)
    assert found.addresses[0] == honest.addresses[0]
    assert len(found.addresses) == 1 + FROM_ONE


def test_a_peer_on_the_open_internet_cannot_name_private_addresses() -> None:
    near, far = contact(1, "/ip4/192.168.0.1"), contact(2, "/ip4/1.1.1.1")
    said = Answer((near, far), (near,))
    assert heard_from("8.8.8.8", said) == Answer((Contact(near.peer, ()), far), (Contact(near.peer, ()),))
    assert heard_from("127.0.0.1", said) == said
