"""The process: owns the signals before anything heavy is imported, the LOCK, logging, readiness, exit codes.

Loading takes seconds, so the light part of this module runs first and imports `node.app` late. The first SIGTERM,
SIGINT or SIGHUP stops in good order, the second ends at once with 130. While loading the first ends at once too:
nothing is open yet.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from config.errors import ConfigError
from config.networks import folder_name
from config.paths import NodePaths
from node.cli.commands import Parser
from node.cli.errors import FAILED, INTERRUPTED, OK, from_reply, usage
from node.lock import Lock, LockError

if TYPE_CHECKING:
    from config.loader import Loaded

# numpy's OpenBLAS reads it when it is loaded. Its threads, one for each core, spin while they wait for each other: when
# other work wants the cores too, our small matrices take far longer with several than with one, and the largest
# product (a whole catalogue with one vector) gains little.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

STOP_S = 10.0  # services end softly in well under a second; a chain or a peer that hangs is cut off then
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """The first signal asks, the second insists."""

    def __init__(self) -> None:
        self._asked = False
        self._stop: Callable[[], None] | None = None
        for number in SIGNALS:
            signal.signal(number, self._caught)

    def wake(self, stop: Callable[[], None]) -> None:
        """From now on the first signal calls `stop`, from the signal handler."""
        self._stop = stop

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            os._exit(INTERRUPTED)
        self._asked = True
        if self._stop is None:
            os._exit(INTERRUPTED if number == signal.SIGINT else OK)
        self._stop()


def command(options: argparse.Namespace, arguments: list[str]) -> int:
    """`schwung run`: a node in the foreground, until a signal or `schwung stop`."""
    began = time.monotonic()
    given = _parser().parse_args(arguments)
    signals = Signals()
    try:
        paths = NodePaths(options.datadir, folder_name(options.network, options.datadir), options.socket)
        paths.check_socket()
        loaded = _settings(options, given)
        paths.create()
        with Lock(paths):
            _say(f"schwung loads · {paths.network} · {paths.root}")
            return _run(loaded, paths, signals, began, prompt=given.unlock)
    except (ConfigError, LockError, OSError) as err:
        return _refuse(err)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="schwung run", description="Run a node in the foreground.", allow_abbrev=False)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="a setting for this run; may be repeated",
    )
    parser.add_argument("--unlock", action="store_true", help="ask for the wallet's passphrase")
    return parser


def _settings(options: argparse.Namespace, given: argparse.Namespace) -> Loaded:
    """Settings with this command's flags. Raises ConfigError, also for a network that is only a template."""
    from config.loader import load_settings, require_filled

    overrides: dict[str, object] = {}
    for pair in given.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise usage(f"--set {pair}: write section.key=value")
        overrides[key] = value
    if options.passphrase_file:
        overrides["wallet.passphrase_file"] = os.path.abspath(options.passphrase_file)
    loaded = load_settings(options.datadir, options.network, overrides)
    require_filled(loaded.settings.profile, options.network)
    return loaded


def _run(loaded: Loaded, paths: NodePaths, signals: Signals, began: float, *, prompt: bool) -> int:
    from node.observe import log

    log.setup(loaded.settings.log.level, loaded.settings.log.areas)
    notify("STATUS=loading")
    import structlog
    import trio

    from node.identity.passphrase import find_passphrase
    from node.service import serve

    try:
        passphrase = find_passphrase(loaded.settings.wallet.passphrase_file, os.environ) or _prompt(prompt)
        trio.run(serve, loaded, paths, signals.wake, lambda lines: _ready(lines, began), passphrase, STOP_S)
    except Exception as err:  # the border of the process
        known = first_known(err)
        if known is not None:
            return _refuse(known)
        structlog.get_logger(__name__).critical("the node has crashed", exc_info=err)
        return FAILED
    _say("stopped")
    return OK


def first_known(group: BaseException) -> Exception | None:
    """The one error of ours in a group, which has a `kind` and says what to do; None when something else broke."""
    if isinstance(group, BaseExceptionGroup):
        found = [first_known(err) for err in group.exceptions]
        return found[0] if len(set(map(str, found))) == 1 else None
    return group if isinstance(group, Exception) and hasattr(group, "kind") else None


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); silent elsewhere."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())
        except OSError as err:
            _say(f"systemd cannot be told: {err}")


def _ready(lines: list[str], began: float) -> None:
    for line in lines:
        _say(line)
    _say(f"ready in {time.monotonic() - began:.1f} s")
    notify("READY=1\nSTATUS=ready")


def _prompt(wanted: bool) -> str | None:
    if not wanted:
        return None
    from node.cli import passphrase

    return passphrase.ask(None, twice=False)


def _refuse(err: Any) -> int:
    """One sentence, what to do, the exit code."""
    _say(f"schwung: {err}")
    hint = str(getattr(err, "hint", ""))
    if hint:
        _say(f"  {hint}")
    return from_reply({"message": str(err), "data": {"kind": getattr(err, "kind", "failed")}}).code


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
