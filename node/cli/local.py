"""Commands that need no running node: init, config show, doctor, embedder install."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from config.networks import folder_name
from config.paths import NodePaths
from node.cli.commands import Parser, anything
from node.cli.errors import FAILED, CliError, usage

Outcome = tuple[str, Any]


def paths_of(options: argparse.Namespace) -> NodePaths:
    """Where the chosen node lives."""
    return NodePaths(options.datadir, folder_name(options.network, options.datadir), options.socket)


def init(options: argparse.Namespace, arguments: list[str]) -> Outcome:
    """Make the folders of a node and a config file that explains itself."""
    Parser(prog="schwung init", description=init.__doc__).parse_args(arguments)
    paths = paths_of(options)
    if paths.config.exists():
        raise CliError(
            f"{paths.config} exists already", FAILED, kind="exists", hint="edit it, or use another --datadir"
        )
    from config.template import render

    paths.create()
    paths.config.write_text(render(), encoding="utf-8")
    return "init", {
        "datadir": str(paths.datadir),
        "config": str(paths.config),
        "network": paths.network,
        "next": f"schwung run --network {options.network}",
    }


def show_config(options: argparse.Namespace, arguments: list[str]) -> Outcome:
    """Show every setting in force; --origin adds where it comes from."""
    parser = Parser(prog="schwung config show", description=show_config.__doc__)
    parser.add_argument("--origin", action="store_true", help="where each value comes from")
    wanted = parser.parse_args(arguments)
    from config.loader import load_settings, plain

    loaded = load_settings(options.datadir, options.network)
    rows = []
    for section, keys in plain(loaded.settings).items():
        for name, value in keys.items():
            origin = {"origin": loaded.origins[f"{section}.{name}"]} if wanted.origin else {}
            rows.append({"key": f"{section}.{name}", "value": value, **origin})
    return "config.show", {"items": rows, "next": None}


def set_config(options: argparse.Namespace, arguments: list[str]) -> Outcome:
    """Write a setting into the config file; a running node takes it up when it is started again."""
    parser = Parser(prog="schwung config set", description=set_config.__doc__)
    parser.add_argument("key", metavar="SECTION.KEY")
    parser.add_argument("value", type=anything, help="JSON, or a text")
    wanted = parser.parse_args(arguments)
    from config.file import set_key

    paths = paths_of(options)
    set_key(paths.config, wanted.key, wanted.value)
    return "config.set", {"key": wanted.key, "value": wanted.value, "file": str(paths.config), "restart": True}


def install_embedder(options: argparse.Namespace, arguments: list[str]) -> Outcome:
    """Fetch and convert the default embedder, once; every node of this user shares it."""
    Parser(prog="schwung embedder install", description=install_embedder.__doc__).parse_args(arguments)
    from node.embed.errors import EmbedError
    from node.embed.install import install

    try:
        folder = install(progress=lambda note: _say(options, note))
    except EmbedError as err:
        raise CliError(str(err), FAILED, kind=err.kind, hint=err.hint) from err
    return "embedder.install", {"folder": str(folder)}


def _say(options: argparse.Namespace, note: str) -> None:
    if not options.quiet:
        print(note, file=sys.stderr, flush=True)


def raw_call(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """`schwung rpc METHOD key=value …`: the method and its params, each value JSON or text."""
    if not arguments or arguments[0] in ("-h", "--help"):
        raise usage("schwung rpc METHOD [key=value …]", "schwung rpc rpc.discover lists the methods")
    method, *pairs = arguments
    params: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise usage(f"{pair!r} is not key=value")
        params[key] = anything(value)
    return method, params


def doctor(options: argparse.Namespace, arguments: list[str]) -> Outcome:
    """Look for what commonly goes wrong, without a running node."""
    Parser(prog="schwung doctor", description=doctor.__doc__).parse_args(arguments)
    checks = [_check(name, probe, options) for name, probe in _PROBES]
    return "node.health", {"ok": all(check["ok"] for check in checks), "items": checks, "next": None}


def _check(name: str, probe: Any, options: argparse.Namespace) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "note": probe(options), "hint": ""}
    except Exception as err:  # a border: whatever goes wrong in a probe is its finding
        return {"name": name, "ok": False, "note": str(err), "hint": str(getattr(err, "hint", ""))}


def _probe_settings(options: argparse.Namespace) -> str:
    from config.loader import load_settings

    loaded = load_settings(options.datadir, options.network)
    changed = sum(origin != "default" for origin in loaded.origins.values())
    return f"{changed} of {len(loaded.origins)} differ from the defaults"


def _probe_network(options: argparse.Namespace) -> str:
    from config.loader import load_settings, require_filled

    profile = load_settings(options.datadir, options.network).settings.profile
    require_filled(profile, options.network)
    return f"{profile.network_id} on chain {profile.chain.id}"


def _probe_chain(options: argparse.Namespace) -> str:
    import urllib.request

    from config.loader import load_settings

    settings = load_settings(options.datadir, options.network).settings
    endpoints = settings.chain.rpc or settings.profile.chain.rpc
    if not endpoints:
        raise CliError("no endpoint is known")
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
    request = urllib.request.Request(endpoints[0], body, {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 - the operator's own setting
        served = int(json.loads(reply.read())["result"], 16)
    if served != settings.profile.chain.id:
        raise CliError(f"the endpoint serves chain {served}, not {settings.profile.chain.id}")
    return f"chain {served} answers"


def _probe_socket(options: argparse.Namespace) -> str:
    path = paths_of(options).check_socket()
    return f"{path} {'is there' if path.exists() else 'is free'}"


def _probe_disk(options: argparse.Namespace) -> str:
    folder = Path(options.datadir)
    while not folder.exists():
        folder = folder.parent
    stats = os.statvfs(folder)
    free = stats.f_bavail * stats.f_frsize
    if free < 1 << 30:
        raise CliError(f"{free >> 20} MiB are free")
    return f"{free >> 30} GiB are free"


_PROBES = (
    ("settings", _probe_settings),
    ("network", _probe_network),
    ("chain", _probe_chain),
    ("socket", _probe_socket),
    ("disk", _probe_disk),
)
