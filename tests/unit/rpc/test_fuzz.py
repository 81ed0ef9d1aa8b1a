"""Whatever is sent: an answer is JSON-RPC by the letter, a notification is silent, nothing raises."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from node.rpc.dispatch import Dispatcher
from node.rpc.registry import Registry
from tests.unit.rpc import toy

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
NAMES = st.sampled_from(["toy.add", "toy.fail", "toy.bug", "toy.odd", "no.such"]) | st.text()
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | VALUES,
        "id": st.integers() | st.text() | VALUES,
        "method": NAMES | VALUES,
        "params": st.lists(VALUES, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "kind"]), VALUES) | VALUES,
    },
)


class Nobody:
    """A caller without a connection."""

    async def notify(self, method: str, params: object) -> None:
        raise AssertionError("no toy notifies")

    def follow(self, work: object) -> str:
        raise AssertionError("no toy subscribes")

    def drop(self, id: str) -> bool:
        return False


def sound(reply: Any) -> bool:
    """One response object of the specification."""
    return (
        reply["jsonrpc"] == "2.0"
        and (reply["id"] is None or (isinstance(reply["id"], (str, int, float)) and not isinstance(reply["id"], bool)))
        and ("result" in reply) != ("error" in reply)
        and ("error" not in reply or (isinstance(reply["error"]["code"], int) and reply["error"]["message"] != ""))
    )


async def ask(line: bytes) -> Any:
    answer = await Dispatcher(Registry(toy.methods())).answer(line, Nobody())
    return None if answer is None else json.loads(answer)


@given(REQUESTS | VALUES | st.lists(REQUESTS | VALUES, max_size=5))
async def test_any_json_is_answered_by_the_letter(message: Any) -> None:
    reply = await ask(json.dumps(message).encode())
    if isinstance(message, list) and message:
        replies = [] if reply is None else reply
        assert all(sound(one) for one in replies)
        assert len(replies) == sum(not silent(one) for one in message)
    elif silent(message):
        assert reply is None
    else:
        assert sound(reply)


@given(st.binary(max_size=200))
async def test_any_bytes_are_answered(line: bytes) -> None:
    reply = await ask(line)
    assert reply is None or isinstance(reply, list) or sound(reply)


def silent(message: Any) -> bool:
    """A valid notification."""
    return (
        isinstance(message, dict)
        and message.get("jsonrpc") == "2.0"
        and isinstance(message.get("method"), str)
        and "id" not in message
        and isinstance(message.get("params", {}), (dict, list))
    )
