"""Hostile bytes that look almost right: valid messages of every type, made from the type itself, and then spoilt."""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Iterator
from re import _parser as parser  # type: ignore[attr-defined]  # patterns as trees; nothing public gives them
from typing import Any

import msgspec
from msgspec import inspect

from protocols.codec import Message, encode

EDGES = (0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1)
FIRST_BYTES = (
    b"\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc4\xc5\xc6\xc7\xca\xcb\xcc\xcf\xd0\xd3\xd9\xda\xdb\xdc\xdd\xde\xdf\xff"
)


def message_types(*packages: str) -> list[type[Message]]:
    """Every message of these packages, in the order of their names: none can be forgotten."""
    for name in packages:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(module.name)
    found = list(_below(Message))
    return sorted(found, key=lambda one: f"{one.__module__}.{one.__name__}")


def _below(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        if not child.__module__.startswith("tests."):
            yield child
        yield from _below(child)


def sample(kind: inspect.Type, dice: random.Random) -> Any:
    """A plain value that the type takes, as far as the type says."""
    match kind:
        case inspect.StructType():
            fields = {field.encode_name: sample(field.type, dice) for field in kind.fields}
            return {kind.tag_field: kind.tag, **fields} if kind.tag_field else fields
        case inspect.UnionType():
            return sample(dice.choice(kind.types), dice)
        case inspect.IntType():
            low, high = kind.ge or 0, kind.le if kind.le is not None else (kind.lt or 1 << 53) - 1
            return dice.choice([low, high, dice.randint(low, high)])
        case inspect.StrType():
            return _text(kind, dice)
        case inspect.BytesType():
            low, high = kind.min_length or 0, kind.max_length or 64
            return dice.randbytes(dice.choice([low, min(high, low + 40), min(high, 64)]))
        case inspect.ListType() | inspect.VarTupleType():
            low, high = kind.min_length or 0, kind.max_length or 4
            return [sample(kind.item_type, dice) for _ in range(dice.choice([low, min(high, low + 3)]))]
        case inspect.DictType():
            return {sample(kind.key_type, dice): sample(kind.value_type, dice) for _ in range(dice.randint(0, 3))}
        case inspect.BoolType():
            return dice.random() < 0.5
        case inspect.NoneType():
            return None
        case inspect.FloatType():
            return dice.random()
        case inspect.LiteralType():
            return dice.choice(kind.values)
    raise NotImplementedError(f"make a sample of {kind}")


def _text(kind: inspect.StrType, dice: random.Random) -> str:
    if kind.pattern is not None:
        return matching(kind.pattern, dice)
    low, high = kind.min_length or 0, min(kind.max_length or 24, 24)
    return "".join(dice.choices("abcz 0\u00e9\u4e2d", k=dice.randint(low, max(low, high))))


def matching(pattern: str, dice: random.Random) -> str:
    """A text that fits a simple pattern: literals, sets, repeats, groups, alternatives and anchors."""
    return "".join(_piece(op, value, dice) for op, value in parser.parse(pattern))


def _piece(op: Any, value: Any, dice: random.Random) -> str:
    match str(op):
        case "LITERAL":
            return chr(value)
        case "IN":
            return "".join(_piece(*dice.choice(value), dice))
        case "RANGE":
            return chr(dice.randint(*value))
        case "MAX_REPEAT":
            low, high, inner = value
            times = dice.randint(low, min(int(high), low + 8))
            return "".join(_piece(*one, dice) for _ in range(times) for one in inner)
        case "SUBPATTERN":
            return "".join(_piece(*one, dice) for one in value[3])
        case "BRANCH":
            return "".join(_piece(*one, dice) for one in dice.choice(value[1]))
        case "AT":
            return ""
    raise NotImplementedError(f"make a text that fits {op} {value}")


def valid(kind: type[Message], dice: random.Random) -> bytes:
    """An encoded message of a type."""
    return encode(sample(inspect.type_info(kind), dice))


def spoilt(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """A message damaged in one of the ways that parsers have died of."""
    body = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5])):
        at = dice.randrange(len(body)) if body else 0
        match dice.randrange(9):
            case 0:
                body[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                body[at : at + 1] = dice.choice(FIRST_BYTES).to_bytes(1, "big")  # another type begins here
            case 2:
                del body[at:]
            case 3:
                del body[at : at + dice.randint(1, 8)]
            case 4:
                body[at:at] = dice.randbytes(dice.randint(1, 8))
            case 5:
                start = dice.randrange(len(other) + 1)
                body[at : at + dice.randint(0, 32)] = other[start : start + dice.randint(0, 32)]
            case 6:
                body[at:at] = msgspec.msgpack.encode(dice.choice(EDGES))
            case 7:
                # a length that nothing follows: 4 GiB of array, map, text or bytes
                body[at:at] = dice.choice([b"\xdd", b"\xdf", b"\xdb", b"\xc6"]) + b"\xff\xff\xff\xff"
            case _:
                body[at:at] = dice.choice([b"\x91", b"\x81\xa1a"]) * dice.choice([3, 60, 2_000])  # nested
    return bytes(body)
