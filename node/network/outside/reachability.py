"""Whether others can dial us: we ask peers to try (`/schwung/dialback/1`), and see them come.

The asker names ports, never addresses: who is asked dials the IP address that the asker's own connection comes from, a
few times a minute at most, so that nobody can be made to knock at a third party's door. What is dialled ends after the
Noise handshake. The asker believes in a "reached" only when that peer, proven by its key, did come in; a false "not
reached" costs him a place at a relay. AutoNAT (/libp2p/autonat/1.0.0) answers without proof, and py-libp2p 0.8.1's part
of it without dialling: it calls `host.connect`, which returns at once because the asker is connected
(host/autonat/autonat.py 396), so that everybody hears that he is public.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Protocol

import msgspec
import structlog
import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection

from node.network.addresses import to_id
from node.network.errors import NetworkError, Refuse
from node.network.guard.allowance import Allowance
from node.network.links import Links, relayed
from node.network.peers import PeerBook
from node.network.private import PrivateConnection
from node.network.streams import BROKEN
from protocols.codec import Message, decode, encode
from protocols.errors import ProtocolError
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

DIAL_BACK = "/schwung/dialback/1"
MAX_BYTES = 1_024
MAX_PORTS = 4
LOWEST_PORT = 1_024  # below live services that no peer of ours is, but for
SPARED = (80, 443)  # the two that firewalls let through
DIAL_S = 5.0
COMES_S = 2.0
ASK_S = MAX_PORTS * DIAL_S + 5.0
ASKED = 3  # peers
AGAIN_S = 600.0
SOON_S = 15.0  # while we do not know
FIRST_S = 1.0
RATE = 1 / 20, 6.0  # dials back for one peer, and for one IP address: a second, and at once
AGREEING = 2  # peers that must see us come from the same address before we announce it

State = Literal["public", "private", "unknown"]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class DialBack(Message, frozen=True):
    """Dial me, where you see me, at these ports."""

    ports: Annotated[list[Port], msgspec.Meta(min_length=1, max_length=MAX_PORTS)]


class DialledBack(Message, frozen=True):
    """`observed` is the IP address that the asker's connection comes from; `reached` are ports at which it answered."""

    observed: Annotated[str, msgspec.Meta(max_length=45)]
    reached: Annotated[list[Port], msgspec.Meta(max_length=MAX_PORTS)]


class Answer(msgspec.Struct, frozen=True):
    """What one peer found; `far` when it sees us come from an address of the Internet."""

    peer: PeerId
    observed: str
    ports: tuple[int, ...]
    far: bool


class Asks(Protocol):
    """How a request is made."""

    def __call__(
        self, peer: PeerId, protocol: str, body: bytes, *, timeout_s: float, max_reply_bytes: int
    ) -> Awaitable[bytes]: ...


def judge(answers: Sequence[Answer]) -> State:
    """What the answers amount to. Who is near can dial us across a NAT's inside; if anybody is far, only they count."""
    far = [answer for answer in answers if answer.far]
    counted = far or answers
    if not counted:
        return "unknown"
    return "public" if any(answer.ports for answer in counted) else "private"


def worth_dialling(ports: Sequence[int]) -> list[int]:
    """Of the ports that somebody names those at which a node may listen, and no mail server."""
    return [port for port in dict.fromkeys(ports) if port >= LOWEST_PORT or port in SPARED]


class Reachability:
    """Asks, answers, and remembers what was found."""

    def __init__(
        self,
        host: Any,
        links: Links,
        book: PeerBook,
        *,
        ask: Asks,
        ports: Callable[[], tuple[int, ...]],
        key: bytes,
        forced: State | None,
        changed: Callable[[], None],
    ) -> None:
        self._swarm = host.get_network()
        self._links = links
        self._book = book
        self._ask = ask
        self._ports = ports
        self._key = key
        self._forced = forced
        self._changed = changed
        self._expected: dict[PeerId, trio.Event] = {}
        self._dials = Allowance(*RATE)
        self._upgrade = self._swarm.upgrader.upgrade_security
        self._swarm.upgrader.upgrade_security = self._witness
        self.state: State = forced or "unknown"
        self.answers: tuple[Answer, ...] = ()

    # -- asking

    @property
    def dialled_back(self) -> tuple[PeerId, ...]:
        """Peers that have reached us."""
        return tuple(answer.peer for answer in self.answers if answer.ports)

    @property
    def observed(self) -> tuple[str, ...]:
        """The IP addresses from which peers see us come."""
        return tuple(dict.fromkeys(answer.observed for answer in self.answers))

    @property
    def confirmed(self) -> tuple[str, ...]:
        """Addresses, without our id, at which several peers saw us come and at least one of them reached us."""
        agreed = [a for a in self.answers if sum(b.observed == a.observed for b in self.answers) >= AGREEING]
        found = [(ip_address(a.observed), port) for a in agreed for port in a.ports]
        return tuple(dict.fromkeys(f"/ip{ip.version}/{ip}/tcp/{port}" for ip, port in found))

    async def run(self) -> None:
        while True:
            await trio.sleep(FIRST_S)
            ports = self._ports()
            if not ports:
                self._find("private", ())  # we listen nowhere
                await trio.sleep(SOON_S)
                continue
            answers = await self._inquire(ports)
            state = judge(answers)
            if state != "unknown" or not len(self._book):
                self._find(state, answers)
            with trio.move_on_after(SOON_S if self.state == "unknown" else AGAIN_S):
                await self._alone_or_met()

    async def _alone_or_met(self) -> None:
        """Wait until there is a new reason to ask: the first peer comes, or the last one goes."""
        alone = not len(self._book)
        while alone == (not len(self._book)):  # noqa: ASYNC110 - the book has no event of its own
            await trio.sleep(FIRST_S)

    def _find(self, state: State, answers: Sequence[Answer]) -> None:
        before = self.state, self.confirmed
        self.answers = tuple(answers)
        self.state = self._forced or state
        if (self.state, self.confirmed) != before:
            log.info("reachability", state=self.state, dialled_back=len(self.dialled_back), observed=self.observed)
            self._changed()

    async def _inquire(self, ports: tuple[int, ...]) -> list[Answer]:
        direct = [peer for peer in self._book.all() if self._links.direct(peer.peer)]
        chosen = sorted(direct, key=lambda peer: peer.inbound)[:ASKED]  # those whom we dialled are no neighbours only
        answers: list[Answer] = []

        async def inquire(peer: PeerId) -> None:
            try:
                answer = await self._question(peer, ports)
            except (NetworkError, ProtocolError, ValueError) as err:
                log.debug("no dial back", peer=peer, error=str(err))
            else:
                answers.append(answer)

        async with trio.open_nursery() as nursery:
            for peer in chosen:
                nursery.start_soon(inquire, peer.peer)
        return answers

    async def _question(self, peer: PeerId, ports: tuple[int, ...]) -> Answer:
        came = self._expected[peer] = trio.Event()
        try:
            body = encode(DialBack(ports=list(ports[:MAX_PORTS])))
            reply = await self._ask(peer, DIAL_BACK, body, timeout_s=ASK_S, max_reply_bytes=MAX_BYTES)
            said = decode(reply, DialledBack, max_bytes=MAX_BYTES)
            if said.reached:
                with trio.move_on_after(COMES_S):  # its last words of the handshake may be behind those of its reply
                    await came.wait()
        finally:
            self._expected.pop(peer, None)
        observed = ip_address(said.observed)
        reached = tuple(port for port in said.reached if port in ports) if came.is_set() else ()
        return Answer(peer, str(observed), reached, observed.is_global)

    async def _witness(self, raw: Any, is_initiator: bool, peer_id: Any = None) -> Any:
        secured = await self._upgrade(raw, is_initiator, peer_id)
        if not is_initiator and not relayed(raw):
            comer = PeerId(str(secured.get_remote_peer()))
            if comer in self._expected:
                self._expected[comer].set()
        return secured

    # -- answering

    async def answer(self, peer: PeerId, body: bytes) -> bytes:
        """Dial a peer back. Raises Refuse, Malformed."""
        asked = decode(body, DialBack, max_bytes=MAX_BYTES)
        host = self._links.remote_host(peer)
        if not host:
            raise Refuse("we are not connected directly", "not_direct")
        reached = []
        for port in worth_dialling(asked.ports):
            now = trio.current_time()
            if not (self._dials.take(peer.encode(), now) and self._dials.take(host.encode(), now)):
                raise Refuse("dialled back often enough", "busy")
            if await self._reaches(peer, host, port):
                reached.append(port)
        return encode(DialledBack(observed=host, reached=reached))

    async def _reaches(self, peer: PeerId, host: str, port: int) -> bool:
        with trio.move_on_after(DIAL_S):
            try:
                async with await trio.open_tcp_stream(host, port) as stream:
                    raw: Any = RawConnection(TrioTCPStream(stream), True)
                    if self._key:
                        raw = PrivateConnection(raw, self._key)
                    await self._upgrade(raw, True, to_id(peer))
                    return True
            except (*BROKEN, ValueError) as err:
                log.debug("not reached", peer=peer, error=str(err))
        return False
