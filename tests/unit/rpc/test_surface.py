"""The names others depend on, and the kinds of errors that cross the border."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import config
import contracts
import node
import protocols
from node.cli.commands import DOCUMENT
from node.cli.errors import from_reply
from node.rpc.errors import CODES, FAILED, to_error

# a contract: scripts and dashboards call these by name, with these params; more may come, none may go
DEPENDED_ON = {
    "node": {"status": "", "health": "", "stop": ""},
    "peers": {"list": "", "add": "addr", "remove": "peer", "ping": "peer"},
    "collect": {"add": "source domain licence consent subject", "list": "", "remove": "source", "put": "domain items"},
    "records": {"search": "query domain limit", "get": "id", "list": "", "label": "id label", "forget": "id subject",
                "stats": ""},
    "offers": {"publish": "domain title kind filter floor licence", "list": "domain mine query", "get": "offer",
               "withdraw": "offer"},
    "demands": {"post": "text domain max_price until", "list": "domain mine", "matches": "demand",
                "withdraw": "demand"},
    "profiles": {"sell": "domain price sources epsilon", "stop": "domain", "show": "domain", "forget": "domain",
                 "list": "domain mine", "query": "domain budget"},
    "search": {"run": "query domain limit max_peers budget"},
    "deals": {"sample": "offer cells", "buy": "offer max_price", "get": "deal", "list": "", "dispute": "deal"},
    "wallet": {"create": "passphrase", "unlock": "passphrase for", "lock": "", "balance": "", "deposit": "amount",
               "withdraw": "amount", "history": ""},
    "models": {"train": "domain task base filter", "list": "", "get": "model", "evaluate": "model",
               "publish": "model price", "call": "model input"},
    "feedback": {"give": "subject receipt rating comment outcome", "list": "subject"},
    "rewards": {"list": "", "claim": ""},
    "insights": {"overview": "", "demand": "domain", "earnings": "", "quality": ""},
    "config": {"get": "key", "set": "key value"},
    "log": {"set_level": "level"},
    "rpc": {"discover": ""},
    "jobs": {"get": "job"},
    "events": {"subscribe": "topics since"},
}  # fmt: skip


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    methods = json.loads(DOCUMENT.read_text())["methods"]
    return {method["name"]: method for method in methods}


@pytest.mark.parametrize("noun", DEPENDED_ON)
def test_the_names_others_depend_on_are_there(noun: str, described: dict[str, Any]) -> None:
    for verb, params in DEPENDED_ON[noun].items():
        known = [param["name"] for param in described[f"{noun}.{verb}"]["params"]]
        assert set(params.split()) <= set(known), f"{noun}.{verb} takes {known}"


def test_every_method_says_what_it_does(described: dict[str, Any]) -> None:
    for name, method in described.items():
        assert method["summary"].endswith((".", "?")), name
        assert "\n" not in method["summary"], name


def errors(package: ModuleType) -> Iterator[type[Exception]]:
    """Every exception class of ours in a package."""
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if found.name.endswith("errors"):
            module = import_module(found.name)
            yield from (
                thing for thing in vars(module).values()
                if isinstance(thing, type) and issubclass(thing, Exception) and thing.__module__ == module.__name__
            )  # fmt: skip


@pytest.mark.parametrize("package", [node, protocols, contracts, config], ids=lambda package: str(package.__name__))
def test_every_kind_of_error_has_a_code(package: ModuleType) -> None:
    known = {kind for kinds in CODES.values() for kind in kinds}
    for error in errors(package):
        kind = getattr(error, "kind", None)
        if isinstance(kind, str) and not error.__module__.startswith(("node.rpc", "node.devnet")):
            assert kind in known, f"{error.__module__}.{error.__name__} has kind {kind!r}: give it a code in CODES"


def test_codes_are_in_our_range_and_each_kind_has_one() -> None:
    assert all(-32049 <= code <= -32010 for code in CODES)
    kinds = [kind for kinds in CODES.values() for kind in kinds]
    assert len(kinds) == len(set(kinds))


def test_a_bug_gets_an_incident_and_keeps_its_secret() -> None:
    error = to_error(KeyError("hunter2"))
    assert (error.code, error.data.kind) == (-32603, "internal")
    assert len(error.data.incident) == 8
    assert "hunter2" not in repr(error)


@pytest.mark.parametrize(
    ("kind", "code"), [("insufficient_funds", 6), ("wallet_locked", 5), ("timeout", 4), ("not_found", 1)]
)
def test_the_command_line_makes_an_exit_code_of_a_kind(kind: str, code: int) -> None:
    assert any(kind in kinds for kinds in CODES.values())
    assert from_reply({"message": "x", "data": {"kind": kind}}).code == code


def test_the_fallback_is_failed() -> None:
    class Strange(Exception):
        kind = "strange"

    assert to_error(Strange("x")).code == FAILED
