"""Waiting for what takes long: a bar on a terminal, silence elsewhere; Ctrl-C leaves the node at work."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node.cli.client import Client
from node.cli.errors import FAILED, REFUSED, TIMEOUT, CliError, from_reply

LOOK_S = 0.2  # as often as the node tells progress
BAR = 24
STOP_S = 30.0  # services get 10 s to end softly, then they are cancelled


def job(client: Client, id: str, *, show: bool) -> Mapping[str, Any]:
    """Follow a job to its end; the whole job. Raises CliError when it did not end well."""
    while True:
        found: Mapping[str, Any] = client.call("jobs.get", {"job": id})
        if found["state"] != "running":
            break
        _draw(_progress(found), show=show)
        time.sleep(LOOK_S)
    _draw("", show=show)
    if "error" in found:
        raise from_reply(found["error"])
    if found["state"] != "done":
        raise CliError(f"the job was {found['state']}", FAILED, kind=str(found["state"]), hint=f"schwung jobs get {id}")
    return found


def deal(client: Client, id: str, *, show: bool) -> Mapping[str, Any]:
    """Follow a purchase to its end; the deal. Raises CliError when it did not settle."""
    while True:
        found: Mapping[str, Any] = client.call("deals.get", {"deal": id})
        if found.get("over"):
            break
        _draw(str(found.get("state", "")), show=show)
        time.sleep(LOOK_S)
    _draw("", show=show)
    if found["state"] != "settled":
        reason = found.get("reason") or "no reason given"
        code = REFUSED if found["state"] == "refused" else FAILED
        raise CliError(f"deal {found['state']}: {reason}", code, kind="deal", hint=f"schwung deals get {id}")
    return found


def end(socket: Path) -> None:
    """Wait until a stopping node has let go of its socket. Raises CliError when it does not."""
    deadline = time.monotonic() + STOP_S
    while socket.exists():
        if time.monotonic() > deadline:
            raise CliError(f"the node is still there after {STOP_S:g} s", TIMEOUT, kind="timeout")
        time.sleep(0.05)


def _progress(found: Mapping[str, Any]) -> str:
    done, total, unit, note = (found.get(name) for name in ("done", "total", "unit", "note"))
    if not total:
        return f"{done} {unit} {note}".strip()
    filled = min(BAR, int(BAR * int(done or 0) / int(total)))
    return f"[{'█' * filled}{'·' * (BAR - filled)}] {done}/{total} {unit} {note}".rstrip()


def _draw(text: str, *, show: bool) -> None:
    if show and sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K" + text[:110])
        sys.stderr.flush()
