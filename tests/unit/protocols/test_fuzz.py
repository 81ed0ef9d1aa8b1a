"""Every decoder against bytes that are almost right: a value or a ProtocolError, and nothing else, ever.

pytest tests/unit/protocols/test_fuzz.py -m slow      a million inputs; one pass over all types is in every run
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from node.market.kinds import KINDS, Context
from node.network.dht import addresses as ids
from node.network.dht import wire as dhtwire
from node.network.outside import wire as circuitwire
from protocols.codec import Message, decode, encode
from protocols.demand.demand import Demand
from protocols.envelope import open_item, sign_item
from protocols.errors import ProtocolError
from protocols.exchange.messages import read_reply, read_request
from protocols.feedback.rating import Rating
from protocols.inference.card import ModelCard
from protocols.offers.offer import Offer
from protocols.offers.withdrawal import Withdrawal
from protocols.profile.advert import Advert
from protocols.profile.messages import Profile, Want, read_profile
from protocols.sealed import Record, open_all, pack_cells, parse, record_id, seal
from protocols.sealed.cells import unpack_cell
from tests.support.fuzz import message_types, spoilt, valid
from tests.support.items import ALICE, CHAIN_ID, NETWORK, NOW, Purse

MOST = 1 << 20
KEY = bytes(range(32))
TYPES = message_types("protocols", "node.network")
BODIES = {
    "offer": Offer,
    "demand": Demand,
    "model": ModelCard,
    "feedback": Rating,
    "withdrawal": Withdrawal,
    "profile": Advert,
}
PURSE = Purse(7)


def texts() -> list[Record]:
    rows = [f"Text number {n} about dresses, and {n * n} words more." for n in range(40)]
    return [Record(id=record_id("", row), text=row) for row in rows]


def as_message(kind: type[Message]) -> Callable[[bytes], object]:
    return lambda data: decode(data, kind, max_bytes=MOST)


def item(data: bytes) -> object:
    """An envelope as gossip takes it: the frame, the signature, then the rules of its kind."""
    found = open_item(data, chain_id=CHAIN_ID, author=None)
    return KINDS[found.kind].read(found, Context(NETWORK, CHAIN_ID), NOW) if found.kind in KINDS else None


def signed_body(kind: str) -> Callable[[bytes], object]:
    """A hostile body in an envelope that is signed properly: what an enemy with a wallet can send."""

    def run(data: bytes) -> object:
        whole = sign_item(kind, data, peer=ALICE, signer=PURSE.address, chain_id=CHAIN_ID, sign=PURSE.sign)
        return item(whole.raw)

    return run


def opened(data: bytes) -> object:
    return open_all(parse(data), KEY)


def profile(data: bytes) -> object:
    """What a seller of a profile sends for the money."""
    return read_profile(data, domain="fashion", model_id="m", dim=8, now=NOW)


def a_profile(dice: random.Random) -> bytes:
    """One that keeps the rules of the place it came to."""
    plain = decode(valid(Profile, dice), Profile, max_bytes=MOST)
    wants = [Want(vector=bytes([n + 1] * 8), wants=plain.floor + n, length=7, max_price_wei="7") for n in range(3)]
    return encode(replace(plain, domain="fashion", model_id="m", wants=wants, updated_at=NOW))


def targets() -> dict[str, tuple[Callable[[bytes], object], Callable[[random.Random], bytes]]]:
    """Name → what is attacked, and how an honest input for it is made."""
    found: dict[str, tuple[Callable[[bytes], object], Callable[[random.Random], bytes]]] = {
        f"{kind.__module__}.{kind.__name__}": (as_message(kind), lambda dice, kind=kind: valid(kind, dice))
        for kind in TYPES
    }
    for name, kind in BODIES.items():
        found[f"signed {name}"] = (signed_body(name), lambda dice, kind=kind: valid(kind, dice))
    sealed, cells = seal(texts(), KEY, 512).payload, pack_cells(texts(), 512)
    exchange = [kind for kind in TYPES if kind.__module__ == "protocols.exchange.messages"]
    honest = valid(ModelCard, random.Random(1))
    envelope = sign_item("model", honest, peer=ALICE, signer=PURSE.address, chain_id=CHAIN_ID, sign=PURSE.sign).raw
    found["envelope"] = (item, lambda dice: envelope)
    found["sealed payload"] = (opened, lambda dice: sealed)
    found["cell"] = (unpack_cell, lambda dice: dice.choice(cells))
    found["profile bought"] = (profile, a_profile)
    found["exchange request"] = (read_request, lambda dice: valid(dice.choice(exchange), dice))
    found["exchange reply"] = (read_reply, lambda dice: valid(dice.choice(exchange), dice))
    found["Kademlia question"] = (dhtwire.read_question, lambda dice: kademlia(dice, dhtwire.question))
    found["circuit, to a relay"] = (
        circuit(circuitwire.HopMessage),
        lambda dice: a_circuit(circuitwire.HopMessage, dice),
    )
    found["circuit, from one"] = (
        circuit(circuitwire.StopMessage),
        lambda dice: a_circuit(circuitwire.StopMessage, dice),
    )
    found["Kademlia answer"] = (dhtwire.read_answer, lambda dice: kademlia(dice, dhtwire.answer))
    return found


def circuit(kind: Any) -> Callable[[bytes], object]:
    """What a relay, or the peer behind one, makes of a message."""
    return lambda data: circuitwire.named(circuitwire.decode(data, kind))


def a_circuit(kind: Any, dice: random.Random) -> bytes:
    limit = circuitwire.limit(dice.randrange(1 << 32), dice.randrange(1 << 64))
    return bytes(kind(type=kind.CONNECT, peer=circuitwire.name(ALICE), limit=limit).SerializeToString())


def kademlia(dice: random.Random, message: Callable[..., bytes]) -> bytes:
    """A message as it is sent, without its length."""
    peer = ids.name_of(b"\x12\x20" + dice.randbytes(32))
    contact = dhtwire.Contact(peer, tuple(f"/{host}/tcp/4780/p2p/{peer}" for host in ("ip4/10.0.0.1", "dns4/a.org")))
    framed = message(dice.choice([dhtwire.FIND_NODE, dhtwire.GET_PROVIDERS]), dice.randbytes(34), [contact])
    return framed[2 if framed[0] > 0x7F else 1 :]


def attack(count: int, seed: int) -> Counter[str]:
    """`count` inputs over all targets in turn; how many were refused, how many taken."""
    dice, outcome = random.Random(seed), Counter[str]()
    field = list(targets().items())
    honest = [(run, [make(dice) for _ in range(8)]) for _, (run, make) in field]
    everything = [data for _, examples in honest for data in examples]
    for number in range(count):
        run, examples = honest[number % len(honest)]
        data = spoilt(dice.choice(examples), dice.choice(everything), dice)
        try:
            run(data)
        except ProtocolError:
            outcome["refused"] += 1
        except Exception as err:
            raise AssertionError(f"{field[number % len(field)][0]}: {err!r} on {data.hex()}") from err
        else:
            outcome["taken"] += 1
    return outcome


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_what_the_fuzzer_starts_from_is_valid(kind: type[Message]) -> None:
    """Else it would only ever test the first check."""
    dice = random.Random(3)
    taken = 0
    for _ in range(20):
        try:
            whole = decode(valid(kind, dice), kind, max_bytes=MOST)
        except ProtocolError:
            continue
        assert encode(whole)
        taken += 1
    assert taken >= 10


def test_every_kind_of_item_is_attacked() -> None:
    assert set(BODIES) == set(KINDS)


def test_almost_right_bytes_are_refused_or_taken_and_nothing_else() -> None:
    outcome = attack(12_000, seed=1)
    assert outcome["refused"] > outcome["taken"] > 0


@pytest.mark.slow
def test_a_million_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.perf_counter()
    outcome = attack(1_000_000, seed=int(begun))
    with capsys.disabled():
        print(f"\n{dict(outcome)} over {len(targets())} decoders in {time.perf_counter() - begun:.0f} s")
