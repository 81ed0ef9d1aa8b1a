"""Cheats, as pure functions: payloads that lie, keys that open nothing. Each says which defence is meant to stop it.

The unit tests play them against the machines; `become` puts one into the node of this process, and

    python -m tests.support.hostile wrong-key run --datadir …

is `schwung run` by somebody who has rewritten his node to cheat.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from typing import Any

from protocols.errors import ProtocolError
from protocols.exchange import machine
from protocols.exchange.events import Checked, Confirm, Deliver, Refund, Verify
from protocols.exchange.handover import MaskedKey, mask_key, unmask_key
from protocols.exchange.messages import Refusal
from protocols.exchange.purchase import BuyerState
from protocols.exchange.sampling import sample_indices
from protocols.sealed import (
    Contents,
    Payload,
    Record,
    Sealed,
    open_all,
    pack_cells,
    parse,
    root_of,
    salvage,
    seal,
    seal_cells,
)
from protocols.sealed.keys import cell_key
from protocols.sealed.payload import ENTRY_BYTES, HEADER_BYTES


def seal_junk(records: Sequence[Record], content_key: bytes, cell_bytes: int, junk: Collection[int]) -> Sealed:
    """A payload that commits honestly to noise in the cells `junk`: only a sampled opening can see it."""
    cells = pack_cells(records, cell_bytes)
    noisy = [_noise(i, len(cell)) if i in junk else cell for i, cell in enumerate(cells)]
    return _count(seal_cells(noisy, content_key), records)


def seal_false_cell(records: Sequence[Record], content_key: bytes, cell_bytes: int, index: int) -> Sealed:
    """A payload whose index promises another plaintext for one cell than its key opens: a cell dispute shows it."""
    return _overwrite(seal(records, content_key, cell_bytes), index, offset=2)


def seal_false_key(records: Sequence[Record], content_key: bytes, cell_bytes: int, index: int) -> Sealed:
    """A payload whose index commits one cell to a key that no content key gives: a key dispute shows it."""
    return _overwrite(seal(records, content_key, cell_bytes), index, offset=34)


def wrong_key(buyer_public: tuple[bytes, bytes], sale: int, e: bytes) -> MaskedKey:
    """A hand-over of a key that never sealed anything: a key dispute shows it once it is posted."""
    return mask_key(sha256(b"never sealed anything").digest(), buyer_public, sale, e)


def off_curve_key() -> MaskedKey:
    """A hand-over whose E is no point of secp256k1 (x = 5 has no y): the seller's fault by itself."""
    return MaskedKey(bytes(31) + b"\5", 0, bytes(32))


def replayed_key(content_key: bytes, buyer_public: tuple[bytes, bytes], other_sale: int, e: bytes) -> MaskedKey:
    """A right key, masked for another sale: opens nothing here."""
    return mask_key(content_key, buyer_public, other_sale, e)


def stolen_sample(content_key: bytes, asked: Sequence[int]) -> list[tuple[int, bytes]]:
    """Openings of other cells than the ones asked for: the seller shows his best cells."""
    return [(index + 1, cell_key(content_key, index + 1)) for index in asked]


def _noise(seed: int, size: int) -> bytes:
    return b"".join(sha256(bytes([seed & 255, n & 255, n >> 8])).digest() for n in range(size // 32 + 1))[:size]


def _overwrite(sealed: Sealed, index: int, offset: int) -> Sealed:
    at = HEADER_BYTES + index * ENTRY_BYTES + offset
    data = sealed.payload[:at] + sha256(b"false commitment").digest() + sealed.payload[at + 32 :]
    return Sealed(root_of(parse(data)), sealed.cells, sealed.records, data)


def _count(sealed: Sealed, records: Sequence[Record]) -> Sealed:
    return Sealed(sealed.root, sealed.cells, len(records), sealed.payload)


# --- a node that cheats: the adversary's modified software ---

CHEATS = (
    "wrong-key", "off-curve", "false-cell", "false-key", "junk", "vanish", "other-cells", "deaf", "silent-buyer",
    "abandon", "careless-buyer",
)  # fmt: skip


def become(cheat: str, replace: Callable[[object, str, Any], None] = setattr) -> None:
    """Make the node of this process cheat. `replace` is `setattr`, or a monkeypatch's that is undone with the test.

    Only what the cheat changes is changed; the honest rest of the node carries it to its victims.
    """
    from node.exchange import acting, seller
    from node.market import draft, offers

    match cheat:
        case "wrong-key":
            replace(seller, "mask_key", lambda _, point, sale, e: wrong_key(point, sale, e))
        case "off-curve":
            replace(seller, "mask_key", lambda *_: off_curve_key())
        case "false-cell" | "false-key" | "junk":
            replace(offers, "seal_records", _sealer(cheat, draft.seal_records))
        case "vanish":
            replace(seller.Sales, "_hand_over", _no_sale)
            replace(seller.Sales, "_perform", _nothing)
        case "other-cells":
            replace(seller, "sample_indices", lambda *chosen: [i ^ 1 for i in sample_indices(*chosen)])
        case "deaf":
            replace(seller.Sales, "_take_consent", _no_sale)
        case "silent-buyer":
            replace(acting.Acting, "_consent", _nothing)
            replace(acting.Acting, "_call", _all_but(Confirm, acting.Acting._call))
        case "abandon":  # both sides, after the lock: the seller delivers nothing, the buyer does not take his money
            replace(seller.Sales, "_hand_over", _no_sale)
            replace(seller.Sales, "_perform", _all_but(Deliver, seller.Sales._perform))
            replace(acting.Acting, "_call", _all_but(Refund, acting.Acting._call))
        case "careless-buyer":  # cheats himself: pays for what he has not examined
            replace(machine, "examine", believe)
            replace(acting, "salvage", skim)
        case _:
            raise ValueError(f"no cheat {cheat!r}: there are {', '.join(CHEATS)}")


def _sealer(
    cheat: str, honest: Callable[[Any, bytes], tuple[Sealed, int]]
) -> Callable[[Any, bytes], tuple[Sealed, int]]:
    def seal_records(records: Any, content_key: bytes) -> tuple[Sealed, int]:
        sealed, cell_bytes = honest(records, content_key)
        goods = open_all(parse(sealed.payload), content_key)
        if cheat == "junk":
            return seal_junk(goods, content_key, cell_bytes, range(sealed.cells)), cell_bytes
        lie = seal_false_cell if cheat == "false-cell" else seal_false_key
        return lie(goods, content_key, cell_bytes, sealed.cells - 1), cell_bytes

    return seal_records


def believe(state: BuyerState, action: Verify, _: Payload) -> Checked:
    """What a buyer finds who does not look."""
    return Checked(action.key, unmask_key(state.secret, action.key, int(state.sale)) or b"")


def skim(payload: Payload, content_key: bytes) -> Contents:
    """What he reads who does not look: nothing, as soon as one cell is false."""
    try:
        return salvage(payload, content_key)
    except ProtocolError:
        return Contents([], list(range(payload.cells)))


async def _no_sale(_: object, request: object) -> Refusal:
    return Refusal(kind="no_sale", message="never heard of it")


async def _nothing(_: object, *__: object) -> None:
    return None


def _all_but(kind: type, honest: Callable[..., Any]) -> Callable[..., Any]:
    async def do_call(*told: object) -> Any:
        return None if any(isinstance(it, kind) for it in told) else await honest(*told)

    return do_call


if __name__ == "__main__":  # python -m tests.support.hostile wrong-key run --datadir …
    from node.cli.main import main

    become(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
