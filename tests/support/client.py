"""A JSON-RPC client of a node's socket for tests and the demo: one connection, blocking, standard library only."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

POLL_S = 0.1
Note = Callable[[str], None]


class CallFailed(Exception):
    """The node answered with an error."""

    def __init__(self, method: str, error: dict[str, Any]) -> None:
        super().__init__(f"{method}: {error['message']} ({error.get('data')})")
        self.code: int = error["code"]
        self.kind: str = (error.get("data") or {}).get("kind", "")


class Client:
    """Calls methods of one node; several threads may share it."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name
        self._ids = itertools.count(1)
        self._local = threading.local()
        self._open: list[socket.socket] = []  # one a thread

    def close(self) -> None:
        """Close the connections of all threads; a later call opens a new one."""
        for sock in self._open:
            sock.close()
        self._open.clear()
        self._local = threading.local()

    def call(self, method: str, timeout_s: float = 120, **params: Any) -> Any:
        """The result of one call. Raises CallFailed, OSError."""
        stream = self._stream(timeout_s)
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        stream.write(json.dumps(request).encode() + b"\n")
        stream.flush()
        line = stream.readline()
        if not line:
            raise ConnectionError(f"{self.name or self.path} closed the connection during {method}")
        reply = json.loads(line)
        if "error" in reply:
            raise CallFailed(method, reply["error"])
        return reply["result"]

    def finish(self, job: dict[str, Any], timeout_s: float = 300, note: Note | None = None) -> Any:
        """Wait for a job's end; its result. Raises CallFailed when it failed."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            now = self.call("jobs.get", job=job["job"])
            if note is not None:
                note(f"{now['done']}/{now['total'] or '?'} {now['unit']} {now['note']}".rstrip())
            if now["state"] != "running":
                if now["state"] == "done":
                    return now["result"]
                raise CallFailed(f"job {now['job']}", now.get("error") or {"code": 0, "message": now["state"]})
            time.sleep(POLL_S)
        raise TimeoutError(f"job {job['job']} of {self.name} still runs after {timeout_s} s")

    def await_deal(self, deal: str, timeout_s: float = 120, note: Note | None = None) -> dict[str, Any]:
        """Wait until a deal is over; its last view."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            view: dict[str, Any] = self.call("deals.get", deal=deal)
            if note is not None:
                note(view["state"])
            if view["over"]:
                return view
            time.sleep(POLL_S)
        raise TimeoutError(f"deal {deal} is still {view['state']} after {timeout_s} s: {view['reason']}")

    @contextmanager
    def events(self, *topics: str) -> Iterator[Iterator[dict[str, Any]]]:
        """The events of some topics, each with `heard_at`, the monotonic time of its arrival."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(str(self.path))
            stream = sock.makefile("rwb")
            subscribe = {"jsonrpc": "2.0", "id": 0, "method": "events.subscribe", "params": {"topics": list(topics)}}
            stream.write(json.dumps(subscribe).encode() + b"\n")
            stream.flush()
            json.loads(stream.readline())
            yield ({**json.loads(line)["params"], "heard_at": time.monotonic()} for line in stream)

    def _stream(self, timeout_s: float) -> Any:
        stream = getattr(self._local, "stream", None)
        if stream is None:
            sock = socket.socket(socket.AF_UNIX)
            self._open.append(sock)
            sock.connect(str(self.path))
            stream = self._local.stream = sock.makefile("rwb")
            self._local.sock = sock
        self._local.sock.settimeout(timeout_s)
        return stream
