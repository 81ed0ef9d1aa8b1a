"""`make demo`: one whole turn of the flywheel between real daemons, on real data, told as it happens.

    python -m tests.demo [--folder build/demo] [--records 240] [--calls 20]

Starts a chain and five daemons (a bootstrap node, two contributors, a builder, a consumer), runs the turn of
`tests/support/turn.py` over their sockets, audits the books from the chain, writes `<folder>/report.json` as
INTERFACES.md says, and ends what it started. Exit code 0 only when every phase did its work and the books balance.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from contracts.books import audit
from node.cli.errors import CliError
from node.devnet.devnet import Devnet
from node.devnet.errors import DevnetError
from node.devnet.places import Places
from tests.support.client import CallFailed, Client
from tests.support.reviews import write_contributors
from tests.support.turn import DOMAIN, TOKEN, Market, PhaseFailed, Turn

PARTS = {
    "alice": ["Dresses", "Skirts"],
    "bob": ["Knits", "Sweaters", "Fine gauge"],
    "carol": ["Blouses", "Pants", "Jeans"],
}
NODES = {"alice": "node1", "bob": "node2", "carol": "node3", "dave": "node4"}


def main() -> int:
    """Run the demo; the exit code."""
    given = _arguments()
    began = time.monotonic()
    devnet = Devnet(Places(given.folder / "devnet"), _say)
    _begin(given.folder, devnet)
    report: dict[str, Any] = {"ok": False}
    try:
        report |= _turn(given, devnet)
    except (PhaseFailed, CallFailed, CliError, DevnetError, TimeoutError, OSError) as err:
        report["error"] = f"{type(err).__name__}: {err}"
    finally:
        devnet.down()
    report["seconds"] = round(time.monotonic() - began, 1)
    path = given.folder / "report.json"
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    _summary(report, path)
    return 0 if report["ok"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/demo"))
    parser.add_argument("--records", type=int, default=240, help="reviews of each contributor")
    parser.add_argument("--calls", type=int, default=20, help="paid calls of the consumer")
    return parser.parse_args()


def _begin(folder: Path, devnet: Devnet) -> None:
    """Nothing of an earlier run may pass for this one's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").unlink(missing_ok=True)
    devnet.down()
    devnet.places.wipe()


def _turn(given: argparse.Namespace, devnet: Devnet) -> dict[str, Any]:
    files = write_contributors(given.folder / "data", PARTS, given.records)
    devnet.up(len(NODES))
    clients = {name: Client(devnet.places.node(node).socket, name) for name, node in NODES.items()}
    consumer = devnet.places.node(NODES["dave"])
    market = Market(
        contributors=[(clients[name], files[name].path.resolve()) for name in ("alice", "bob")],
        builder=(clients["carol"], files["carol"].path.resolve()),
        consumer=clients["dave"],
        console_url=clients["dave"].call("node.status")["console"],
        console_token=consumer.console_token.read_text().strip(),
    )
    for client in clients.values():
        client.call("domains.follow", domain=DOMAIN)
    report = Turn(market, _say, calls=given.calls).run()
    facts = devnet.facts()
    books = audit(devnet.rpc(), facts["contracts"], facts["deployed_block"])
    report["books"] = {
        "balanced": books.balanced,
        "supply_wei": str(books.supply_wei - books.burnt_wei),
        "sum_wei": str(books.sum_wei),
        "burnt_wei": str(books.burnt_wei),
        "contracts": {name: str(account.held_wei) for name, account in books.per_contract.items()},
    }
    return {"ok": books.balanced, "seconds": 0.0, "nodes": len(NODES) + 1, **report}


def _summary(report: dict[str, Any], path: Path) -> None:
    if not report["ok"]:
        _say(f"\nThe flywheel did not turn: {report.get('error', 'the books do not balance')}\n{path}")
        return
    collect, train, serve, deal = report["collect"], report["train"], report["serve"], report["deal"]
    feedback, split = report["feedback"], report["split"]
    contributors = ", ".join(_tokens(wei) for wei in split["contributors"].values())
    datasets = ", ".join(f"{_name(one['dataset'])} {one['weight_ppm'] / 10_000:.1f} %" for one in split["datasets"])
    rows = [
        ("collected", f"{collect['items']} items → {collect['records']} records, {collect['duplicates']} duplicates, "
                      f"{collect['redactions']} redactions"),
        ("offered", f"{report['offer']['cid'][:24]}… heard after {report['offer']['gossip_ms']} ms"),
        ("matched", f"score {report['match']['score']:.3f}, {report['match']['peers_asked']} peers asked"),
        ("bought", f"{deal['bytes']:,} bytes for {_tokens(deal['price_wei'])}, {deal['gas']:,} gas for the buyer, "
                   f"{deal['state']}"),
        ("trained", f"{train['metric']} {train['before']:.3f} → {train['after']:.3f} on {train['held_out']} held out"),
        ("served", f"{serve['calls']} paid calls, p50 {serve['p50_ms']} ms, settled for {serve['gas']:,} gas"),
        ("shared", f"builder {_tokens(split['builder_wei'])}, contributors {contributors}"),
        ("by data", f"{datasets}"),
        ("fed back", f"quote {_tokens(feedback['quote_before_wei'])} → {_tokens(feedback['quote_after_wei'])}, "
                     f"rewards {_tokens(feedback['reward_wei'])}, of it {_tokens(feedback['epoch_wei'])} by an epoch"),
        ("books", f"balanced: {int(report['books']['supply_wei']) / TOKEN:,.0f} tokens"),
    ]  # fmt: skip
    _say(f"\nThe flywheel turned once in {report['seconds']} s between {report['nodes']} daemons.")
    for name, text in rows:
        _say(f"  {name:<10}{text}")
    _say(f"  report    {path}")


def _name(dataset: int) -> str:
    return f"dataset {dataset}" if dataset else "the builder's own"


def _tokens(wei: str) -> str:
    return f"{int(wei) / TOKEN:.4f} tok"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
