"""The devnet's processes: started into sessions of their own, remembered by pid and start time, ended in order.

A pid alone may by now be somebody else's; with the kernel's start time it is ours or gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from node.devnet.errors import DevnetError

STOP_S = 15.0  # a node gets 10 s to end softly


class Processes:
    """Name → process, in a file that survives this one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._children: dict[int, subprocess.Popen[bytes]] = {}  # those this very process has started: it reaps them

    def running(self) -> dict[str, int]:
        """Name → pid of those that are alive."""
        for child in self._children.values():
            child.poll()
        return {
            name: entry["pid"] for name, entry in self._load().items() if _started(entry["pid"]) == entry["started"]
        }

    def start(self, name: str, command: Sequence[str], log: Path, environ: Mapping[str, str]) -> int:
        """Start a process whose output goes to `log`; its pid."""
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as out:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environ},
                start_new_session=True,
            )
        self._children[process.pid] = process
        entries = self._load()
        entries[name] = {"pid": process.pid, "started": _started(process.pid)}
        self._save(entries)
        return process.pid

    def stop(self, names: Sequence[str]) -> None:
        """End some by SIGTERM, together; SIGKILL for those that stay. Raises DevnetError if even that fails."""
        ours = {name: pid for name, pid in self.running().items() if name in names}
        for pid in ours.values():
            _send(pid, signal.SIGTERM)
        if not self._gone(ours, STOP_S):
            for pid in ours.values():
                _send(pid, signal.SIGKILL)
            if not self._gone(ours, STOP_S):
                raise DevnetError(f"cannot end {', '.join(f'{name} ({pid})' for name, pid in ours.items())}")
        self._save({name: entry for name, entry in self._load().items() if name not in names})

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        pid = self.running().get(name)
        if pid is not None:
            _send(pid, signal.SIGKILL)
            self._gone({name: pid}, STOP_S)

    def _gone(self, ours: Mapping[str, int], within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while set(ours) & set(self.running()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        for pid in ours.values():
            if pid in self._children:
                self._children.pop(pid).wait(within_s)
        return True

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            return dict(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return {}

    def _save(self, entries: Mapping[str, Any]) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(entries, indent=1))
        os.replace(draft, self._file)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _started(pid: int) -> str:
    """When a process started, as the kernel counts; '' when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
