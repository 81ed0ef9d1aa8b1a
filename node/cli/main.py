"""`schwung`: options, dispatch, exit codes.

Standard library and our own light modules only. What needs the heavy libraries is named in `ELSEWHERE` and imported
when it is called: the daemon and the devnet.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from config.networks import DEFAULT
from config.paths import default_datadir
from node.cli import local, passphrase, render, status, waiting
from node.cli.client import Client
from node.cli.commands import Parser, document, is_secret, params, parser
from node.cli.errors import FAILED, INTERRUPTED, OK, USAGE, CliError, usage

# command → module:function(options, arguments) -> exit code
ELSEWHERE = {
    "run": "node.daemon:command",
    "devnet": "node.devnet.command:command",
}
LOCAL = {
    ("init",): local.init,
    ("config", "show"): local.show_config,
    ("config", "set"): local.set_config,
    ("doctor",): local.doctor,
    ("embedder", "install"): local.install_embedder,
}
SHORT = {"status": ("node", "status"), "stop": ("node", "stop")}
GROUPS = {
    "Node": ("init", "run", "status", "stop", "doctor", "config", "log", "node", "jobs", "events", "peers", "rpc"),
    "Data": ("collect", "records", "embedder"),
    "Market": ("offers", "demands", "search", "deals", "models", "feedback", "insights"),
    "Money": ("wallet", "rewards"),
    "Local network": ("devnet",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The console script: run a command, print its result, return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    try:
        options, rest = _options().parse_known_args(arguments)
        return _dispatch(options, rest)
    except CliError as err:
        return _fail(err, as_json=as_json)
    except ConfigError as err:
        return _fail(CliError(str(err), FAILED, kind=err.kind, hint=err.hint), as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `schwung … | head`
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _options() -> argparse.ArgumentParser:
    """Options that may stand anywhere in a command."""
    top = Parser(prog="schwung", add_help=False, allow_abbrev=False)
    top.add_argument("--datadir", type=_folder, default=default_datadir())
    top.add_argument("--network", default=os.environ.get("SCHWUNG_NETWORK", DEFAULT))
    top.add_argument("--socket", default=None)
    top.add_argument("--json", action="store_true")
    top.add_argument("--quiet", action="store_true")
    top.add_argument("--no-wait", action="store_true")
    top.add_argument("--timeout", type=float, default=None)
    top.add_argument("--passphrase-file", default=None)
    return top


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _dispatch(options: argparse.Namespace, arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return OK if arguments else USAGE
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"schwung {version('schwung')}")
        return OK
    if arguments[0] in ELSEWHERE:
        module, _, function = ELSEWHERE[arguments[0]].partition(":")
        return int(getattr(import_module(module), function)(options, arguments[1:]))
    for words, command in LOCAL.items():
        if tuple(arguments[: len(words)]) == words:
            method, value = command(options, arguments[len(words) :])
            _print(options, method, value)
            return OK if value.get("ok", True) else FAILED
    return _remote(options, arguments)


def _remote(options: argparse.Namespace, arguments: list[str]) -> int:
    if arguments[0] == "rpc" and (len(arguments) < 2 or arguments[1] != "discover"):
        name, given = local.raw_call(arguments[1:])
    else:
        name, given = _parsed(options, list(SHORT.get(arguments[0], arguments[:1])) + arguments[1:])
    with Client(local.paths_of(options).check_socket(), options.timeout) as client:
        value = client.call(name, given)
        if name == "events.subscribe":
            return _stream(client)
        if not options.no_wait:
            value = _awaited(client, options, name, value)
    _print(options, name, value)
    return OK


def _parsed(options: argparse.Namespace, arguments: list[str]) -> tuple[str, dict[str, Any]]:
    noun = arguments[0]
    if noun not in document():
        raise usage(f"unknown command {noun!r}{_meant(noun)}", "schwung --help lists the commands")
    given = parser(noun).parse_args(arguments[1:])
    method = document()[noun][given.verb]
    chosen = params(method, given)
    for param in method["params"]:
        if is_secret(param):
            chosen[param["name"]] = passphrase.ask(options.passphrase_file, twice=given.verb == "create")
    if method["name"].startswith("collect.") and "source" in chosen:
        chosen["source"] = _whole_path(chosen["source"])
    return method["name"], chosen


def _whole_path(source: str) -> str:
    """The node has another working directory than the person who types."""
    return source if re.match(r"[a-z][a-z0-9+.-]*://", source) else str(_folder(source))


def _awaited(client: Client, options: argparse.Namespace, name: str, value: Any) -> Any:
    show = not (options.quiet or options.json)
    if isinstance(value, dict) and set(value) == {"job"}:
        return waiting.job(client, value["job"], show=show)
    if name == "deals.buy":
        return waiting.deal(client, value["deal"], show=show)
    if name == "node.stop":
        waiting.end(local.paths_of(options).socket)
    return value


def _stream(client: Client) -> int:
    for message in client.notifications():
        print(json.dumps(message["params"], ensure_ascii=False), flush=True)
    return OK


def _print(options: argparse.Namespace, method: str, value: Any) -> None:
    if options.json:
        print(json.dumps(value, ensure_ascii=False))
    elif options.quiet:
        for id in render.ids(value):
            print(id)
    elif method == "node.status":
        print(status.screen(value))
    elif isinstance(value, dict) and "job" in value and "result" in value:
        print(render.result(method, value["result"]))  # what came of it; how it went was to be seen meanwhile
    else:
        print(render.result(method, value))


def _fail(err: CliError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": err.error}, ensure_ascii=False))
    print(f"schwung: {err}", file=sys.stderr)
    if err.hint:
        print(f"  {err.hint}", file=sys.stderr)
    return err.code


def _meant(noun: str) -> str:
    import difflib

    near = difflib.get_close_matches(noun, [*document(), *ELSEWHERE, *SHORT, "init", "doctor", "embedder"], 1)
    return f": did you mean {near[0]!r}?" if near else ""


def _help() -> str:
    nouns = "\n".join(f"  {group:<14} {'  '.join(names)}" for group, names in GROUPS.items())
    return f"""usage: schwung [options] COMMAND …

{nouns}

  schwung NOUN --help lists what can be done with a noun.

options
  --datadir DIR           where the node keeps things (SCHWUNG_DATADIR)
  --network NAME|PATH     which network (SCHWUNG_NETWORK; default {DEFAULT})
  --socket PATH           the node's socket, when it is not in its folder (SCHWUNG_SOCKET)
  --json                  exactly one JSON document on stdout
  --quiet                 bare ids only
  --no-wait               do not wait for jobs and purchases to end
  --timeout S             give up waiting for an answer
  --passphrase-file FILE  the wallet's passphrase (first line)
  --version"""
