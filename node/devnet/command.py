"""`schwung devnet up|down|status|fund|join`. Light at import: the command line loads this module to show its help."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from config.amounts import parse_amount
from config.paths import NodePaths, devnet_dir
from node.cli import render
from node.cli.commands import Parser
from node.cli.errors import OK, from_reply, usage
from node.devnet.errors import DevnetError
from node.devnet.places import NETWORK, Places, write_passphrase

NODES = 3  # a market needs a seller, a buyer and somebody else


def command(options: argparse.Namespace, arguments: list[str]) -> int:
    """Run one of the verbs. Raises CliError."""
    given = _parser().parse_args(arguments)
    root = given.dir or devnet_dir()
    from node.devnet.devnet import Devnet

    devnet = Devnet(Places(root), lambda line: _say(options, line))
    try:
        value = given.run(devnet, given, options)
    except DevnetError as err:
        raise from_reply({"message": str(err), "data": {"kind": err.kind, "hint": err.hint}}) from err
    _print(options, value)
    return OK


def up(devnet: Any, given: argparse.Namespace, options: argparse.Namespace) -> dict[str, Any]:
    """Start what is missing: chain, contracts, bootstrap node, N nodes."""
    devnet.up(given.nodes)
    return dict(devnet.status())


def down(devnet: Any, given: argparse.Namespace, options: argparse.Namespace) -> dict[str, Any]:
    """End it; chain and nodes keep their state. --wipe throws it away."""
    ended = devnet.down()
    if given.wipe:
        devnet.places.wipe()
    return {"ended": ended, "wiped": given.wipe}


def status(devnet: Any, given: argparse.Namespace, options: argparse.Namespace) -> dict[str, Any]:
    """What runs, and where the sockets are."""
    return dict(devnet.status())


def fund(devnet: Any, given: argparse.Namespace, options: argparse.Namespace) -> dict[str, Any]:
    """Send native coins and tokens to an account of the devnet."""
    if not (given.address.startswith("0x") and len(given.address) == 42):
        raise usage(f"{given.address!r} is not an address (0x and 40 hex digits)")
    sent = devnet.fund(given.address, native_wei=_amount(given.native), token_wei=_amount(given.tokens))
    return {"address": given.address, "txs": sent}


def join(devnet: Any, given: argparse.Namespace, options: argparse.Namespace) -> dict[str, Any]:
    """Join the devnet with a node of your own, in the foreground; made if need be: devnet, wallet, money."""
    from node.devnet import nodes

    devnet.up(given.nodes)
    paths = NodePaths(options.datadir, NETWORK, options.socket)
    passphrase = paths.root / "passphrase"
    write_passphrase(passphrase)
    address, new = nodes.create_wallet(paths, passphrase)
    if new:
        _say(options, f"wallet {address} gets money")
        devnet.fund(address)
    environ = {**os.environ, "SCHWUNG_DEVNET_DIR": str(devnet.places.root)}
    words = [*nodes.schwung(), "run", "--datadir", str(paths.datadir), "--network", NETWORK]
    words += ["--socket", str(paths.socket), "--passphrase-file", str(passphrase)]
    os.execve(words[0], words, environ)  # noqa: S606 - the node takes this process's place: signals reach it directly


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="schwung devnet", description="A whole network on this machine.", allow_abbrev=False)
    parser.add_argument("--dir", type=Path, default=None, help="its folder (SCHWUNG_DEVNET_DIR)")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for run in (up, down, status, fund, join):
        verb = verbs.add_parser(run.__name__, help=run.__doc__, description=run.__doc__, allow_abbrev=False)
        verb.set_defaults(run=run)
        verb.add_argument("--dir", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        if run in (up, join):
            verb.add_argument("--nodes", type=int, default=NODES if run is up else 0, help="beside the bootstrap node")
        if run is down:
            verb.add_argument("--wipe", action="store_true", help="delete its folder")
        if run is fund:
            verb.add_argument("address")
            verb.add_argument("--native", default="10tok", metavar="AMOUNT", help="native coins (default 10)")
            verb.add_argument("--tokens", default="10000tok", metavar="AMOUNT", help="tokens (default 10,000)")
    return parser


def _amount(text: str) -> int:
    try:
        return int(parse_amount(text))
    except ValueError as err:
        raise usage(str(err)) from err


def _print(options: argparse.Namespace, value: dict[str, Any]) -> None:
    if options.json:
        print(json.dumps(value))
    elif not options.quiet:
        print(render.result("devnet", value))


def _say(options: argparse.Namespace, line: str) -> None:
    if not options.quiet:
        print(line, file=sys.stderr, flush=True)
