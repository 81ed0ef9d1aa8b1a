"""The answering side: handlers by protocol name, each with its bounds.

A handler may raise `Refuse` or any `ProtocolError` to say no with a reason; any other exception is logged here, once,
and the peer learns only that we failed. Work beyond the bounds is answered with "busy", so that a flood costs the
flooder its own waiting and nobody else's. What cannot be read, is over a bound or never comes whole is held against the
peer (`conduct`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import trio

from node.network.errors import DeadlineExceeded, NetworkError, Refuse, ReplyTooLarge
from node.network.guard.allowance import Allowance
from node.network.guard.conduct import FLOOD, MALFORMED, OVERSIZE, STALLED, Conduct
from node.network.streams import OK, Dialogue, deadline, refusal
from protocols.errors import BadIdentifier, Malformed, ProtocolError
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

RequestHandler = Callable[[PeerId, bytes], Awaitable[bytes]]
StreamHandler = Callable[[PeerId, Dialogue], Awaitable[None]]
Admit = Callable[[PeerId], bool]

STRANGER = "stranger"  # the kind of refusal of a peer that has not been greeted
REQUEST_S = 10.0  # a request is written at once; a peer that dribbles it holds a slot
PER_PEER = 8  # requests of one peer at the same time, of one protocol
WAITING = 4  # times the concurrency may wait for a slot
REQUESTS_PER_S, REQUEST_BURST = 200.0, 2_000.0  # of one peer, of one protocol: half of what one core can answer
SLOWEST_BYTES_PER_S = 64 * 1024  # below it a large request or reply holds its place too long
BUSY = 0.1  # of a flood's points: an eager peer may be told "busy" now and then


class Slots:
    """How much of one protocol runs at a time and comes in a second, in all and for one peer."""

    def __init__(
        self, concurrency: int, per_peer: int, *, rate: float = REQUESTS_PER_S, burst: float = REQUEST_BURST
    ) -> None:
        self._running = trio.CapacityLimiter(concurrency)
        self._admitted: Counter[PeerId] = Counter()
        self._sending = 0
        self._most = concurrency * (1 + WAITING)
        self._per_peer = min(per_peer, concurrency)
        self._rate = Allowance(rate, burst)

    @contextmanager
    def admit(self, peer: PeerId) -> Iterator[trio.CapacityLimiter]:
        """Count the peer in until its answer is sent, and give the limiter to run under. Raises Refuse("busy")."""
        if self._admitted[peer] >= self._per_peer or self._admitted.total() - self._sending >= self._most:
            raise Refuse("too many requests at once", "busy")
        if not self._rate.take(peer, trio.current_time()):
            raise Refuse("too many requests a second", "busy")
        self._admitted[peer] += 1
        try:
            yield self._running
        finally:
            self._admitted[peer] -= 1
            if not self._admitted[peer]:
                del self._admitted[peer]

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Of those admitted this one only gets its answer: who takes it slowly keeps nobody else out."""
        self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1


def answerer(
    protocol: str, handler: RequestHandler, *, admit: Admit, max_request_bytes: int, slots: Slots, conduct: Conduct
) -> Callable[[Any], Awaitable[None]]:
    """A libp2p stream handler that reads one request and writes one reply."""

    async def serve(stream: Any) -> None:
        dialogue = Dialogue(stream)
        try:
            await _answer(dialogue)
        except BaseException:
            await dialogue.reset()
            raise
        await dialogue.close()

    async def _answer(dialogue: Dialogue) -> None:
        peer = dialogue.peer
        try:
            _check_admitted(peer, admit)
            with slots.admit(peer) as running:
                reply = await _reply(dialogue, running)
                with slots.sending():
                    await _send(dialogue, reply)
        except Refuse as err:
            conduct.blame(peer, FLOOD, BUSY)
            await _send(dialogue, refusal(err.kind, str(err)))

    async def _reply(dialogue: Dialogue, running: trio.CapacityLimiter) -> bytes:
        peer = dialogue.peer
        try:
            with deadline(REQUEST_S + max_request_bytes / SLOWEST_BYTES_PER_S, f"{peer} did not finish its request"):
                body = await dialogue.receive(max_bytes=max_request_bytes, timeout_s=REQUEST_S)
            async with running:
                return OK + await handler(peer, body)
        except (Refuse, ProtocolError) as err:
            _note(conduct, peer, err)
            return refusal(err.kind, str(err))
        except ReplyTooLarge as err:
            conduct.blame(peer, OVERSIZE)
            return refusal("too_large", str(err))
        except NetworkError as err:
            if isinstance(err, DeadlineExceeded):
                conduct.blame(peer, STALLED)
            raise  # the asking peer is gone or over a bound: there is nobody to answer
        except Exception:
            log.exception("request handler failed", protocol=protocol, peer=peer)
            return refusal("internal", "the peer failed to answer")

    return serve


async def _send(dialogue: Dialogue, reply: bytes) -> None:
    with deadline(REQUEST_S + len(reply) / SLOWEST_BYTES_PER_S, f"{dialogue.peer} did not take its reply"):
        await dialogue.send(reply, timeout_s=REQUEST_S)


def _note(conduct: Conduct, peer: PeerId, err: Exception) -> None:
    """Hold against a peer what nobody sends who runs this program."""
    if isinstance(err, Malformed | BadIdentifier):
        conduct.blame(peer, MALFORMED, 0.5)


def talker(
    protocol: str, handler: StreamHandler, *, admit: Admit, slots: Slots, conduct: Conduct
) -> Callable[[Any], Awaitable[None]]:
    """A libp2p stream handler that hands the stream to a dialogue."""

    async def serve(stream: Any) -> None:
        dialogue = Dialogue(stream)
        started = False
        try:
            _check_admitted(dialogue.peer, admit)
            with slots.admit(dialogue.peer) as running:
                async with running:
                    await dialogue.send(OK, timeout_s=REQUEST_S)
                    started = True
                    await handler(dialogue.peer, dialogue)
            await dialogue.close()
        except (Refuse, ProtocolError) as err:
            log.debug("dialogue refused", protocol=protocol, peer=dialogue.peer, error=str(err))
            _note(conduct, dialogue.peer, err)
            if started:  # what comes now belongs to the dialogue's own messages; an abrupt end is the only clear word
                await dialogue.reset()
            else:
                conduct.blame(dialogue.peer, FLOOD, BUSY)
                await _say(dialogue, refusal(err.kind, str(err)))
        except NetworkError as err:
            log.debug("dialogue ended", protocol=protocol, peer=dialogue.peer, error=str(err))
            if isinstance(err, ReplyTooLarge):
                conduct.blame(dialogue.peer, OVERSIZE)
            elif isinstance(err, DeadlineExceeded) and dialogue.halted:
                conduct.blame(dialogue.peer, STALLED)
            await dialogue.reset()
        except Exception:
            log.exception("stream handler failed", protocol=protocol, peer=dialogue.peer)
            await dialogue.reset()

    return serve


def _check_admitted(peer: PeerId, admit: Admit) -> None:
    if not admit(peer):
        raise Refuse("say /schwung/hello/1 first", STRANGER)


async def _say(dialogue: Dialogue, reply: bytes) -> None:
    try:
        await dialogue.send(reply, timeout_s=REQUEST_S)
    except NetworkError as err:
        log.debug("refusal not delivered", peer=dialogue.peer, error=str(err))
    await dialogue.close()
