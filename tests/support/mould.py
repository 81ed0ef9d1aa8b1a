"""Daemons cast from one mould: a process that has everything imported and forks a daemon at each order.

Importing a daemon takes seconds of CPU; a test that kills one at every step of a deal would spend its time on that.
What is forked is `schwung run` itself: `node.cli.main.main` in a session of its own, with its own folder, journal,
sockets and threads, which end with it. (lancedb and trio renew their threads after a fork; nothing else has any yet.)

The orders come as JSON lines on stdin: {"command": […], "log": path, "environ": {…}, "cut": path, "cheat": name}.
Answers: {"ready": true} once, {"pid": n} to an order, {"pid": n, "status": n} when a daemon has ended. When stdin ends,
however that came about, every daemon is killed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import node.daemon  # noqa: F401 - first: what it says about threads must stand before numpy is loaded
from node.cli.main import main as schwung
from tests.support.adversary import become
from tests.support.killing import arm

LOOK_S = 0.02  # how late the end of a daemon may be told


def main() -> None:
    """Serve orders until stdin ends."""
    import node.app
    import node.service  # noqa: F401 - what every daemon imports

    warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
    alive: set[int] = set()
    _tell({"ready": True})
    try:
        for line in _lines(alive):
            alive.add(_cast(json.loads(line)))
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)


def _lines(alive: set[int]) -> Iterator[bytes]:
    """The orders as they come; in between the dead are buried."""
    buffer = b""
    while True:
        readable, _, _ = select.select([0], [], [], LOOK_S)
        _bury(alive)
        if not readable:
            continue
        data = os.read(0, 65_536)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        yield from lines


def _bury(alive: set[int]) -> None:
    for pid in sorted(alive):
        dead, status = os.waitpid(pid, os.WNOHANG)
        if dead:
            alive.discard(pid)
            _tell({"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _cast(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        _tell({"pid": pid})
        return pid
    code = 1
    try:
        _own_life(order)
        code = _run(order)
    except BaseException:  # the border: a daemon must never return into the mould's own code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # the mould's own clean-up is not the daemon's


def _own_life(order: dict[str, Any]) -> None:
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.environ.update(order["environ"])


def _run(order: dict[str, Any]) -> int:
    arm(Path(order["cut"]))
    if order["cheat"]:
        become(order["cheat"])
    return schwung(order["command"])


def _tell(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
