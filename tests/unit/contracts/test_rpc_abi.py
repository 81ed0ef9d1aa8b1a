"""Encoding by ABI: against web3's own codec, and refusing what would be padded or cut in silence."""

from __future__ import annotations

import re
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode
from web3 import Web3

from config.profile import CONTRACTS
from contracts.abi import Abi
from contracts.artifact import NAMES, load
from contracts.bindings.binding import Binding, decode_revert
from contracts.chain import Chain
from contracts.errors import RpcError
from contracts.rpc import ChainRpc

ADDRESSES = {name: Web3.to_checksum_address("0x" + f"{place:02x}" * 20) for place, name in enumerate(CONTRACTS, 1)}


def sample(kind: str) -> Any:
    """A value of an ABI type."""
    if kind.endswith("]"):
        return [sample(kind[: kind.rindex("[")])] * 2
    if kind.startswith("("):
        depth, start, out = 0, 1, []
        for place, letter in enumerate(kind):
            depth += {"(": 1, ")": -1}.get(letter, 0)
            if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
                out.append(sample(kind[start:place]))
                start = place + 1
        return tuple(out)
    if kind == "address":
        return "0x" + "ab" * 20
    if kind == "bool":
        return True
    if kind in ("bytes", "string"):
        return b"text" if kind == "bytes" else "text"
    if found := re.fullmatch(r"bytes(\d+)", kind):
        return b"\x07" * int(found[1])
    return 7


@pytest.mark.parametrize("name", NAMES)
def test_every_function_encodes_as_web3_does(name: str) -> None:
    artifact = load(name)
    ours = Abi(artifact.abi)
    theirs = Web3().eth.contract(abi=artifact.abi)
    for function in ours.functions.values():
        args = [sample(kind) for kind in function.inputs]
        checked = [
            Web3.to_checksum_address(arg) if kind == "address" else arg
            for kind, arg in zip(function.inputs, args, strict=True)
        ]
        if any("address" in kind and kind != "address" for kind in function.inputs):
            continue  # web3 wants checksums inside tuples: covered by the settlements on a real chain
        assert "0x" + ours.encode(function.name, *args).hex() == theirs.encode_abi(function.name, args=checked)
        assert ours.function_of(ours.encode(function.name, *args)) == function.name


@pytest.mark.parametrize("name", NAMES)
def test_every_event_decodes_what_the_contract_would_emit(name: str) -> None:
    abi = Abi(load(name).abi)
    for topic, event in abi.events.items():
        values = [sample(kind) for kind in event.inputs]
        marked = [(kind, value) for kind, value, i in zip(event.inputs, values, event.indexed, strict=True) if i]
        plain = [(kind, value) for kind, value, i in zip(event.inputs, values, event.indexed, strict=True) if not i]
        data = abi_encode([kind for kind, _ in plain], [value for _, value in plain])
        found = abi.event([topic, *(abi_encode([kind], [value]) for kind, value in marked)], data)
        assert found is not None
        assert found[0] == event.name
        assert list(found[1]) == list(event.names)


def test_a_short_bytes32_is_refused_and_not_padded() -> None:
    abi = Abi(load("KeySale").abi)
    with pytest.raises(ValueError, match="bytes32 needs 32 bytes, not 31"):
        abi.encode("lock", 1, 2, bytes(31), bytes(32))
    with pytest.raises(ValueError, match="bytes32 needs 32 bytes"):
        abi.encode("disputeCell", 1, 2, bytes(32), bytes(32), b"", [bytes(33)])
    with pytest.raises(ValueError, match="bytes32 needs 32 bytes"):
        abi.encode("confirmMany", [1], [(bytes(32), bytes(30))])


@pytest.mark.parametrize("args", [(2**256, 1, bytes(32), bytes(32)), (-1, 1, bytes(32), bytes(32)), (1, 2)])
def test_arguments_that_do_not_fit_are_refused(args: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (three different texts)
        Abi(load("KeySale").abi).encode("lock", *args)


def test_an_amount_over_uint96_never_wraps() -> None:
    with pytest.raises(ValueError, match="deposit"):
        Abi(load("VoucherBank").abi).encode("deposit", "0x" + "11" * 20, 2**96)


@pytest.mark.parametrize("data", [b"", b"\x01", bytes(31), b"\xff" * 64])
def test_a_result_of_other_bytes_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="do not decode"):
        Abi(load("SchwungToken").abi).result("name", data)


def test_an_overloaded_function_is_refused() -> None:
    entry = {"type": "function", "name": "f", "inputs": [], "outputs": []}
    with pytest.raises(ValueError, match="overloaded"):
        Abi([entry, {**entry, "inputs": [{"type": "uint256", "name": "a"}]}])


def revert(data: object, message: str = "execution reverted") -> str | None:
    found = decode_revert(RpcError(3, message, data), [Abi(load(name).abi) for name in NAMES])
    return None if found is None else str(found)


def test_refusals_are_named() -> None:
    abi = Abi(load("KeySale").abi)
    named = next(selector for selector, error in abi.errors.items() if error.name == "OfferNotOpen")
    assert "OfferNotOpen()" in str(revert("0x" + named.hex()))
    assert "OfferNotOpen()" in str(revert({"data": "0x" + named.hex()}))
    text = "0x08c379a0" + abi_encode(["string"], ["too late"]).hex()
    assert "Error(too late)" in str(revert(text))
    assert "Panic(17)" in str(revert("0x4e487b71" + abi_encode(["uint256"], [17]).hex()))
    assert "0xdeadbeef" in str(revert("0xdeadbeef"))
    assert "without a reason" in str(revert(None))
    assert revert(None, "nonce too low") is None


def test_the_bindings_name_only_functions_and_events_that_exist() -> None:
    """Each call of a binding's helper names a function of its ABI: read from the source, so that none is forgotten."""
    import inspect

    chain = Chain(ChainRpc("http://127.0.0.1:1"), ADDRESSES, 1)
    bindings = [value for value in vars(chain).values() if isinstance(value, Binding)]
    assert len(bindings) == len(CONTRACTS)
    for binding in bindings:
        source = inspect.getsource(type(binding))
        called = re.findall(r"self\._(?:read|whole|flag|account|call)\(\s*\"(\w+)\"", source)
        called += re.findall(r"self\._struct\(\w+, \"(\w+)\"", source)
        assert called
        assert set(called) <= set(binding.abi.functions)
        events = re.findall(r"(?:_emitted\(receipt,|events\() ?\"(\w+)\"", source)
        assert set(events) <= set(binding.abi.topics)
