"""Encode calls and decode results, logs and custom errors by a contract's JSON ABI (`eth_abi` does the bytes).

`eth_abi` pads a `bytes32` that is too short without a word; a truncated root on chain would be money lost, so lengths
are checked here first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

_FIXED_BYTES = re.compile(r"bytes([0-9]+)")
_STANDARD_ERRORS = [  # Solidity's own: `require(…, "text")` and failed assertions, overflows, bad indices
    {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
]


class Signature(msgspec.Struct, frozen=True):
    """A function, event or error: its canonical types and the names of its inputs."""

    name: str
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    indexed: tuple[bool, ...] = ()
    outputs: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    @property
    def hash(self) -> bytes:
        return keccak(f"{self.name}({','.join(self.inputs)})".encode())


class Abi:
    """One contract's functions by name, events by topic, errors by selector. Overloads are refused: we have none."""

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self.functions: dict[str, Signature] = {}
        self.events: dict[bytes, Signature] = {}
        self.errors: dict[bytes, Signature] = {}
        for entry in [*_STANDARD_ERRORS, *entries]:
            self._add(entry)
        self._selectors = {name: signature.hash[:4] for name, signature in self.functions.items()}
        self.topics = {event.name: topic for topic, event in self.events.items()}

    def _add(self, entry: Mapping[str, Any]) -> None:
        kind = entry["type"]
        if kind not in ("function", "event", "error"):
            return
        signature = _signature(entry)
        if kind == "event":
            self.events[signature.hash] = signature
        elif kind == "error":
            self.errors[signature.hash[:4]] = signature
        elif signature.name in self.functions:
            raise ValueError(f"{signature.name} is overloaded: give the two functions two names")
        else:
            self.functions[signature.name] = signature

    def encode(self, name: str, *args: Any) -> bytes:
        """The calldata of a call. Raises ValueError for arguments that do not fit the types."""
        function = self.functions[name]
        if len(args) != len(function.inputs):
            raise ValueError(f"{name} takes {len(function.inputs)} arguments, not {len(args)}")
        for kind, value in zip(function.inputs, args, strict=True):
            _check_lengths(kind, value)
        try:
            return self._selectors[name] + abi_encode(function.inputs, args)
        except (EncodingError, OverflowError) as err:
            raise ValueError(f"{name}: {err}") from err

    def function_of(self, data: bytes) -> str:
        """The name of the function that calldata calls, or ""."""
        return next((name for name, selector in self._selectors.items() if selector == data[:4]), "")

    def result(self, name: str, data: bytes) -> tuple[Any, ...]:
        """What a call returned. Raises ValueError for bytes that are not of the declared types."""
        return _decode(self.functions[name].outputs, data, name)

    def event(self, topics: Sequence[bytes], data: bytes) -> tuple[str, dict[str, Any]] | None:
        """The name and arguments of a log, or None when no event of this contract has its first topic."""
        event = self.events.get(topics[0]) if topics else None
        if event is None:
            return None
        plain = [kind for kind, indexed in zip(event.inputs, event.indexed, strict=True) if not indexed]
        values = iter(_decode(plain, data, event.name))
        marks = iter(topics[1:])
        args: dict[str, Any] = {}
        for name, kind, indexed in zip(event.names, event.inputs, event.indexed, strict=True):
            args[name] = _topic(kind, next(marks, b"")) if indexed else next(values)
        return event.name, args

    def error(self, data: bytes) -> tuple[str, tuple[Any, ...]] | None:
        """The custom error in revert bytes, or None when it is not one of this contract's."""
        found = self.errors.get(data[:4])
        if found is None:
            return None
        try:
            return found.name, _decode(found.inputs, data[4:], found.name)
        except ValueError:
            return found.name, ()


def _signature(entry: Mapping[str, Any]) -> Signature:
    inputs, outputs = entry.get("inputs", []), entry.get("outputs", [])
    return Signature(
        name=entry["name"],
        inputs=tuple(_type(part) for part in inputs),
        names=tuple(part["name"] or f"arg{place}" for place, part in enumerate(inputs)),
        indexed=tuple(bool(part.get("indexed")) for part in inputs),
        outputs=tuple(_type(part) for part in outputs),
        output_names=tuple(part["name"] for part in outputs),
    )


def _type(part: Mapping[str, Any]) -> str:
    """The canonical type; a struct is spelt as the tuple of its members (Solidity ABI specification, "JSON")."""
    kind: str = part["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_type(member) for member in part['components'])}){kind[5:]}"


def _check_lengths(kind: str, value: Any) -> None:
    """Refuse a `bytesN` of another length, also inside arrays and tuples."""
    if kind.endswith("]"):
        member = kind[: kind.rindex("[")]
        for one in value:
            _check_lengths(member, one)
    elif kind.startswith("("):
        for inner, one in zip(_members(kind), value, strict=True):
            _check_lengths(inner, one)
    elif (found := _FIXED_BYTES.fullmatch(kind)) and len(value) != int(found[1]):
        raise ValueError(f"{kind} needs {found[1]} bytes, not {len(value)}")


def _members(kind: str) -> list[str]:
    """The types inside `(a,b,(c,d)[])`, split at commas of the outer level only."""
    out, depth, start = [], 0, 1
    for place, letter in enumerate(kind):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
            out.append(kind[start:place])
            start = place + 1
    return out


def _decode(kinds: Sequence[str], data: bytes, what: str) -> tuple[Any, ...]:
    try:
        values = abi_decode(kinds, data)
    except (DecodingError, OverflowError, ValueError) as err:
        raise ValueError(f"{what}: {len(data)} bytes do not decode as ({','.join(kinds)})") from err
    return tuple(_tidy(kind, value) for kind, value in zip(kinds, values, strict=True))


def _topic(kind: str, topic: bytes) -> Any:
    """An indexed argument; dynamic ones are only there as their hash."""
    if kind in ("string", "bytes") or kind.endswith("]") or kind.startswith("("):
        return topic
    return _decode([kind], topic, "topic")[0]


def _tidy(kind: str, value: Any) -> Any:
    """Addresses with their checksum, also inside arrays and tuples."""
    if kind == "address":
        return to_checksum_address(value)
    if kind.endswith("]"):
        member = kind[: kind.rindex("[")]
        return tuple(_tidy(member, one) for one in value)
    if kind.startswith("("):
        return tuple(_tidy(inner, one) for inner, one in zip(_members(kind), value, strict=True))
    return value
