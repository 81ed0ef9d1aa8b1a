"""Typed structs to MessagePack and back.

Decoding has two stages: `msgpack`'s unpacker turns hostile bytes into plain values under explicit limits (it never
allocates more than the input's length can justify), then `msgspec` turns those into a frozen struct. Encoding is
canonical: fields in declaration order, shortest integer forms, so that the same struct always gives the same bytes.
"""

from __future__ import annotations

from types import UnionType
from typing import Any, TypeVar, overload

import msgpack
import msgspec

from protocols.errors import Malformed

T = TypeVar("T")

MAX_DEPTH_ITEMS = 65_536  # elements of one array or map; the largest honest message has a few thousand

_encoder = msgspec.msgpack.Encoder(order="deterministic")


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything that crosses the wire: frozen, and refuses fields it does not know."""


def encode(message: object) -> bytes:
    """A struct or plain value as canonical MessagePack."""
    return _encoder.encode(message)


@overload
def decode(data: bytes, kind: type[T], *, max_bytes: int) -> T: ...
@overload
def decode(data: bytes, kind: UnionType, *, max_bytes: int) -> Any: ...
def decode(data: bytes, kind: Any, *, max_bytes: int) -> Any:
    """Bytes from a peer as `kind`: a struct, or a union of tagged ones.

    Raises Malformed when they are over `max_bytes` or do not fit the type.
    """
    name = getattr(kind, "__name__", "message")
    if len(data) > max_bytes:
        raise Malformed(f"{len(data)} bytes, the limit for {name} is {max_bytes}")
    plain = unpack(data)
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as err:
        raise Malformed(f"{name}: {err}") from err


def unpack(data: bytes) -> Any:
    """One MessagePack value under limits. Raises Malformed. Extension types are refused: none of ours uses them."""
    size = len(data)
    bound = min(size, MAX_DEPTH_ITEMS)
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            use_list=True,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=bound,
            max_map_len=bound,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError, OverflowError) as err:
        raise Malformed(f"not MessagePack within limits: {type(err).__name__}") from err
