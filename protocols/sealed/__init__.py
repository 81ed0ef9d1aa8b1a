"""The sealed payload, format `sealed/1` (DESIGN §4): records packed into cells, each cell under a key of its own.

    ck = secrets.token_bytes(32)
    sealed = seal(records, ck, choose_cell_bytes(records))    # seller: .root and .cells go on chain, .payload is public
    payload = parse(data, max_bytes=...)                      # buyer: hostile bytes
    root_of(payload) == offer_root and payload.cells == offer_cells    # before anything is paid
    unpack_cell(open_cell(payload, i, key_i))                 # a sampled opening: list[Record], or a Part of a long one
    check(payload, ck) is None                                # after the key: None, or the Fault to dispute
    for reading in read(payload, ck): ...                     # the records

Pure: no disk, no sockets, no threads; all functions may run in any thread. Hostile input raises `Malformed`, a key that
is not the committed one `WrongKey`, own records that cannot be sealed `RuleBroken`.
"""

from protocols.sealed.cells import Part, choose_cell_bytes, join_parts, pack_cells, unpack_cell
from protocols.sealed.keys import cell_key
from protocols.sealed.payload import (
    Fault,
    Payload,
    Proof,
    Sealed,
    WrongKey,
    check,
    open_cell,
    parse,
    prove,
    proven,
    root_of,
    seal,
    seal_cells,
)
from protocols.sealed.reading import Contents, Reading, open_all, read, salvage
from protocols.sealed.records import Record, record_id

__all__ = [
    "Contents",
    "Fault",
    "Part",
    "Payload",
    "Proof",
    "Reading",
    "Record",
    "Sealed",
    "WrongKey",
    "cell_key",
    "check",
    "choose_cell_bytes",
    "join_parts",
    "open_all",
    "open_cell",
    "pack_cells",
    "parse",
    "prove",
    "proven",
    "read",
    "record_id",
    "root_of",
    "salvage",
    "seal",
    "seal_cells",
    "unpack_cell",
]
