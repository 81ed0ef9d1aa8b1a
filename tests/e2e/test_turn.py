"""The flywheel turns once, small: five daemons as a user starts them, the default embedder, real reviews, public RPC.

What each phase must have done is checked by the turn itself (tests/support/turn.py, which the demo runs at full size);
here the report is held against the nodes and the chain, and the same facts are asked for as a user would ask.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contracts.books import audit
from node.devnet.devnet import Devnet
from node.devnet.places import BOOTSTRAP, Places
from tests.support.client import Client
from tests.support.cluster import Said, schwung
from tests.support.reviews import write_contributors
from tests.support.turn import DOMAIN, Market, Turn

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

PARTS = {"alice": ["Dresses"], "bob": ["Knits", "Sweaters"], "carol": ["Blouses"]}
NODES = {"alice": "node1", "bob": "node2", "carol": "node3", "dave": "node4"}
RECORDS = 200  # of each: fewer, and the gain of training cannot be told from chance
CALLS = 3


@dataclass
class Turned:
    """A devnet on which the wheel has turned once."""

    devnet: Devnet
    report: dict[str, Any]
    clients: dict[str, Client]

    def schwung(self, name: str, *words: str) -> Said:
        """A command about a node, as its user types it."""
        paths = self.devnet.places.node(NODES[name])
        environ = {"SCHWUNG_DEVNET_DIR": str(self.devnet.places.root)}
        return schwung("--datadir", str(paths.datadir), "--socket", str(paths.socket), *words, environ=environ)

    def socket(self, name: str) -> Path:
        return self.devnet.places.node(NODES[name]).socket


@pytest.fixture(scope="module")
def turned() -> Iterator[Turned]:
    folder = Path(tempfile.mkdtemp(prefix="schwung-"))  # short: a socket's path has a limit
    devnet = Devnet(Places(folder / "net"), print)
    clients: dict[str, Client] = {}
    try:
        devnet.up(len(NODES))
        clients |= {name: Client(devnet.places.node(node).socket, name) for name, node in NODES.items()}
        yield Turned(devnet, turn(devnet, clients, folder), clients)
    finally:
        for client in clients.values():
            client.close()
        devnet.down()
        shutil.rmtree(folder)


def turn(devnet: Devnet, clients: dict[str, Client], folder: Path) -> dict[str, Any]:
    """One turn; its report."""
    files = write_contributors(folder / "data", PARTS, RECORDS)
    for client in clients.values():
        client.call("domains.follow", domain=DOMAIN)
    market = Market(
        contributors=[(clients[name], files[name].path) for name in ("alice", "bob")],
        builder=(clients["carol"], files["carol"].path),
        consumer=clients["dave"],
        console_url=clients["dave"].call("node.status")["console"],
        console_token=devnet.places.node(NODES["dave"]).console_token.read_text().strip(),
    )
    return Turn(market, print, calls=CALLS).run()


def test_every_phase_has_left_its_mark(turned: Turned) -> None:
    report = turned.report
    assert set(report) == {
        "collect",
        "refine",
        "offer",
        "match",
        "sample",
        "deal",
        "train",
        "serve",
        "split",
        "feedback",
    }
    assert report["collect"]["items"] > 3 * RECORDS
    assert report["deal"]["state"] == "settled"
    assert report["train"]["after"] > report["train"]["before"] > 0
    assert report["serve"]["calls"] == CALLS + 1
    assert int(report["feedback"]["quote_after_wei"]) > int(report["feedback"]["quote_before_wei"])


def test_the_gain_is_no_chance_and_judged_on_a_part_of_its_own(turned: Turned) -> None:
    carol = turned.clients["carol"]
    judged = carol.call("models.evaluate", model=turned.report["train"]["model"])
    assert judged["gain"]["low"] > 0  # of the paired differences, 95 %
    assert 0.1 < judged["held_out"] / carol.call("records.stats")["records"] < 0.3


def test_the_books_balance_and_everybody_was_paid_by_the_chain(turned: Turned) -> None:
    facts = turned.devnet.facts()
    books = audit(turned.devnet.rpc(), facts["contracts"], facts["deployed_block"])
    assert books.balanced, books
    for name in ("alice", "bob"):
        address = turned.clients[name].call("node.status")["address"]
        assert int(turned.report["split"]["contributors"][address]) > 0


def test_the_command_line_tells_the_same(turned: Turned) -> None:
    status = turned.schwung("carol", "status", "--json")
    assert (status.code, status.err) == (0, "")
    assert status.json["shard"]["records"] == turned.clients["carol"].call("records.stats")["records"]
    offers = turned.schwung("dave", "offers", "list", "--json").json["items"]
    assert {offer["seller"] for offer in offers} == set(turned.report["split"]["contributors"])
    deals = turned.schwung("carol", "deals", "list", "--json").json["items"]
    assert [deal["state"] for deal in deals] == ["settled", "settled"]
    sold = turned.schwung("alice", "deals", "list", "--json").json["items"]
    assert [deal["state"] for deal in sold] == ["paid"]


def test_a_search_finds_what_others_sell(turned: Turned) -> None:
    found = turned.schwung("dave", "search", "run", "a dress for a summer wedding", "--domain", DOMAIN, "--json")
    assert found.code == 0
    assert found.json["asked"] >= 1  # the other seller has nothing about dresses to add, his sketch says
    assert any("dress" in hit["text"].lower() for hit in found.json["items"] if hit["offer"])
    told = turned.schwung("dave", "search", "run", "a dress for a summer wedding", "--domain", DOMAIN)
    assert told.code == 0
    assert len(told.out.splitlines()) > 1


def test_a_socket_and_lines_are_enough_of_a_client(turned: Turned) -> None:
    """As `nc -U node.sock`: calls, a batch, a notification and nonsense on one connection."""
    lines = [
        b'{"jsonrpc":"2.0","id":1,"method":"node.status"}',
        b'[{"jsonrpc":"2.0","id":"a","method":"offers.list"},{"jsonrpc":"2.0","id":"b","method":"no.such"}]',
        b'{"jsonrpc":"2.0","method":"node.status"}',
        b"{nonsense",
        b'{"jsonrpc":"2.0","id":2,"method":"records.list","params":[null,null,null,1]}',
    ]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(turned.socket("alice")))
        sock.sendall(b"\n".join(lines) + b"\n")
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile() as replies:
            answers = [json.loads(line) for line in replies]
    by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
    (batch,) = [answer for answer in answers if isinstance(answer, list)]
    assert len(answers) == 4  # the notification has none
    assert by_id[1]["result"]["version"]
    assert len(by_id[2]["result"]["items"]) == 1
    assert by_id[None]["error"]["code"] == -32700
    assert {one["id"]: one.get("error", {}).get("code") for one in batch} == {"a": None, "b": -32601}


def test_the_bootstrap_node_only_introduced_them(turned: Turned) -> None:
    with_peers = turned.devnet.places.node(BOOTSTRAP).socket
    bootstrap = Client(with_peers, BOOTSTRAP)
    try:
        assert bootstrap.call("records.stats")["records"] == 0
        assert len(bootstrap.call("peers.list")["items"]) == len(NODES)
    finally:
        bootstrap.close()
