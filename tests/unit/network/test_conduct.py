"""Points, bans, addresses and what is taken of a gossip RPC: the pure parts of keeping peers in order."""

from __future__ import annotations

import random

import pytest
import trio
from google.protobuf.message import DecodeError
from trio.testing import wait_all_tasks_blocked

from node.network.gossip.rpcs import IDS_BURST, MAX_ID_BYTES, MAX_TOPIC_BYTES, RETRANSMISSIONS, TOPICS_PER_PEER, Intake
from node.network.guard.conduct import (
    CLEAN_AFTER_S,
    FIRST_BAN_S,
    FLOOD,
    FORGED,
    HALF_LIFE_S,
    INVALID,
    KNOWN,
    LONGEST_BAN_S,
    Ban,
    Conduct,
    NoBans,
    ban_s,
)
from node.network.guard.turnstile import Refused, Turnstile, site
from protocols.ids import PeerId
from tests.support.fuzz import spoilt

# isort: split
from libp2p.pubsub.pb import rpc_pb2

FOE, FRIEND = PeerId("foe"), PeerId("friend")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Notes(NoBans):
    """A memory that can be read."""

    def __init__(self) -> None:
        self.kept: list[Ban] = []
        self.forgotten: list[PeerId] = []

    async def remember(self, ban: Ban) -> None:
        self.kept.append(ban)

    async def forget(self, peer: PeerId) -> None:
        self.forgotten.append(peer)


# --- points and bans ---


def test_points_halve_and_small_faults_far_apart_are_forgiven() -> None:
    clock = Clock()
    conduct = Conduct(NoBans(), clock)
    conduct.blame(FOE, INVALID, 6)
    assert conduct.score(FOE) == -60
    clock.now += HALF_LIFE_S
    assert conduct.score(FOE) == -30
    for _ in range(50):  # ten points each half-life come to no more than twenty
        clock.now += HALF_LIFE_S
        conduct.blame(FOE, INVALID)
    assert conduct.ban(FOE) is None
    assert conduct.score(FRIEND) == 0


def test_enough_points_are_a_ban_for_what_weighed_most() -> None:
    clock = Clock()
    told: list[Ban] = []
    conduct = Conduct(NoBans(), clock)
    conduct.on_ban = told.append
    conduct.blame(FOE, FLOOD, 30)
    for _ in range(4):
        assert conduct.ban(FOE) is None
        conduct.blame(FOE, FORGED)
    ban = conduct.ban(FOE)
    assert ban is not None
    assert (ban.peer, ban.reason, ban.times, ban.ends_at - ban.banned_at) == (FOE, FORGED.what, 1, FIRST_BAN_S)
    assert (told, conduct.bans(), conduct.score(FOE)) == ([ban], [ban], -100)
    conduct.blame(FOE, FORGED, 100)  # who is refused cannot be banned twice
    assert conduct.bans() == [ban]


def test_every_further_ban_takes_longer_and_a_clean_week_is_a_new_beginning() -> None:
    clock = Clock()
    conduct = Conduct(NoBans(), clock)
    lengths = []
    for _ in range(9):
        conduct.blame(FOE, FORGED, 4)
        ban = conduct.ban(FOE)
        assert ban is not None
        lengths.append(ban.ends_at - ban.banned_at)
        clock.now = ban.ends_at + 1
        assert conduct.ban(FOE) is None
    assert lengths == [min(LONGEST_BAN_S, FIRST_BAN_S * 2**n) for n in range(9)]
    clock.now += CLEAN_AFTER_S
    conduct.blame(FOE, FORGED, 4)
    assert [ban.times for ban in conduct.bans()] == [1]


def test_the_longest_ban_is_a_day() -> None:
    assert ban_s(10_000) == LONGEST_BAN_S


async def test_a_pardon_lifts_the_ban_and_forgets_the_points() -> None:
    clock, notes = Clock(), Notes()
    conduct = Conduct(notes, clock)
    conduct.blame(FRIEND, INVALID, 9)
    assert not await conduct.pardon(FRIEND)
    assert conduct.score(FRIEND) == 0
    conduct.blame(FOE, FORGED, 4)
    assert await conduct.pardon(FOE)
    assert (conduct.bans(), notes.forgotten) == ([], [FOE])
    conduct.blame(FOE, FORGED, 4)
    assert [ban.times for ban in conduct.bans()] == [1]


async def test_a_ban_is_acted_upon_and_remembered_once() -> None:
    notes = Notes()
    hung_up: list[PeerId] = []
    conduct = Conduct(notes, Clock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conduct.run, hung_up.append)
        await wait_all_tasks_blocked()
        conduct.blame(FOE, FORGED, 4)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (hung_up, [ban.peer for ban in notes.kept]) == ([FOE], [FOE])


def test_a_crowd_of_names_takes_bounded_memory() -> None:
    conduct = Conduct(NoBans(), Clock())
    for number in range(KNOWN + 500):
        conduct.blame(PeerId(f"a{number}"), INVALID)
        conduct.blame(PeerId(f"b{number}"), FORGED, 4)
    assert len(conduct._scores) <= KNOWN
    assert len(conduct.bans()) == KNOWN


# --- addresses ---


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_place_is_an_address_or_a_64(host: str, place: str) -> None:
    assert site(host) == place


@pytest.mark.parametrize(("host", "allowed"), [("9.9.9.9", 3), ("127.0.0.1", 12), ("10.1.2.3", 12), ("100.64.0.1", 12)])
def test_connections_from_one_address_are_bounded_and_local_ones_wider(host: str, allowed: int) -> None:
    turnstile = Turnstile(3, 4, Clock())
    entered = []
    for _ in range(20):
        visit = turnstile.enter(host)
        try:
            visit.__enter__()
        except Refused:
            break
        entered.append(visit)
    assert len(entered) == allowed
    entered.pop().__exit__(None, None, None)
    with turnstile.enter(host):
        assert turnstile.refused == 1


def test_names_of_one_64_share_its_places_and_others_do_not() -> None:
    turnstile = Turnstile(1, 4, Clock())
    with turnstile.enter("2620:fe::1"):
        with pytest.raises(Refused, match="connections already"), turnstile.enter("2620:fe::2"):
            pass
        with turnstile.enter("2620:fe:0:1::1"):
            pass


def test_who_connects_too_often_waits() -> None:
    clock = Clock()
    turnstile = Turnstile(2, 4, clock)
    for _ in range(8):
        with turnstile.enter("9.9.9.9"):
            pass
    with pytest.raises(Refused, match="too often"), turnstile.enter("9.9.9.9"):
        pass
    clock.now += 2
    with turnstile.enter("9.9.9.9"):
        pass


def test_an_address_of_three_banned_peers_is_refused_for_a_while_and_a_shared_one_is_not() -> None:
    clock = Clock()
    turnstile = Turnstile(8, 32, clock)
    for host in ("9.9.9.9", "127.0.0.1"):
        for _ in range(3):
            turnstile.note(host)
    with pytest.raises(Refused, match="banned peers"), turnstile.enter("9.9.9.9"):
        pass
    with turnstile.enter("127.0.0.1"):
        pass
    clock.now += FIRST_BAN_S + 1
    with turnstile.enter("9.9.9.9"):
        pass


# --- gossip RPCs ---


@pytest.fixture
def conduct() -> Conduct:
    return Conduct(NoBans(), Clock())


async def test_topics_are_taken_up_to_the_bound_and_none_that_is_too_long(conduct: Conduct) -> None:
    told = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"{n}") for n in range(TOPICS_PER_PEER + 10)]
    intake = Intake(conduct)
    assert len(intake.subscriptions(FOE, told, 0)) == TOPICS_PER_PEER
    assert conduct.score(FRIEND) == 0
    assert intake.subscriptions(FRIEND, [rpc_pb2.RPC.SubOpts(subscribe=True, topicid="é" * 129)], 0) == []
    leaving = [rpc_pb2.RPC.SubOpts(subscribe=False, topicid="1")]
    assert len(Intake(conduct).subscriptions(FRIEND, leaving, TOPICS_PER_PEER)) == 1


async def test_a_message_is_given_three_times_to_who_has_lost_it(conduct: Conduct) -> None:
    intake, wanted = Intake(conduct), rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=[b"one"] * 9)])
    given = [len(intake.control(FOE, wanted, ()).iwant) for _ in range(RETRANSMISSIONS + 2)]
    assert given == [1] * RETRANSMISSIONS + [0, 0]
    assert len(intake.control(FRIEND, wanted, ()).iwant) == 1


async def test_control_of_topics_that_we_do_not_have_is_left_out_and_nobody_is_to_be_dialled(conduct: Conduct) -> None:
    told = rpc_pb2.ControlMessage(
        graft=[rpc_pb2.ControlGraft(topicID="ours"), rpc_pb2.ControlGraft(topicID="theirs")],
        prune=[rpc_pb2.ControlPrune(topicID="ours", peers=[rpc_pb2.PeerInfo(peerID=b"x")], backoff=7)],
        ihave=[rpc_pb2.ControlIHave(topicID="theirs", messageIDs=[b"x"])],
    )
    taken = Intake(conduct).control(FOE, told, {"ours": 1})
    assert [graft.topicID for graft in taken.graft] == ["ours"]
    assert [(prune.topicID, len(prune.peers), prune.backoff) for prune in taken.prune] == [("ours", 0, 7)]
    assert not taken.ihave
    assert conduct.score(FOE) == 0


async def test_ids_beyond_the_allowance_are_left_and_cost_points(conduct: Conduct) -> None:
    intake = Intake(conduct)
    ids = [b"%d" % n for n in range(int(IDS_BURST) + 1_000)]
    taken = intake.control(
        FOE, rpc_pb2.ControlMessage(ihave=[rpc_pb2.ControlIHave(topicID="t", messageIDs=ids)]), ["t"]
    )
    assert len(taken.ihave[0].messageIDs) == IDS_BURST
    assert conduct.score(FOE) == -25


async def test_no_rpc_breaks_the_intake(conduct: Conduct) -> None:
    """Whatever the library reads as an RPC is filtered to something within the bounds."""
    dice, intake = random.Random(7), Intake(conduct)
    told = rpc_pb2.RPC(
        subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid="books")],
        control=rpc_pb2.ControlMessage(
            ihave=[rpc_pb2.ControlIHave(topicID="books", messageIDs=[b"x" * 46] * 3)],
            iwant=[rpc_pb2.ControlIWant(messageIDs=[b"y" * 46])],
            graft=[rpc_pb2.ControlGraft(topicID="books")],
            prune=[rpc_pb2.ControlPrune(topicID="books", backoff=60)],
            idontwant=[rpc_pb2.ControlIDontWant(messageIDs=[b"z" * 300])],
        ),
    ).SerializeToString()
    read = 0
    for _ in range(5_000):
        rpc = rpc_pb2.RPC()
        try:
            rpc.ParseFromString(spoilt(told, told, dice))
        except DecodeError:
            continue
        read += 1
        taken = intake.control(FRIEND, rpc.control, {"books": 1})
        ids = [name for one in (*taken.ihave, *taken.iwant, *taken.idontwant) for name in one.messageIDs]
        assert all(len(name) <= MAX_ID_BYTES for name in ids)
        assert {one.topicID for one in (*taken.ihave, *taken.graft, *taken.prune)} <= {"books"}
        topics = intake.subscriptions(FRIEND, rpc.subscriptions, 0)
        assert all(len(one.topicid.encode()) <= MAX_TOPIC_BYTES for one in topics)
    assert read > 500
