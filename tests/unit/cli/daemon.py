"""A daemon for the command line's tests: answers from a script, in a thread, over a real socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Answer = Callable[[str, dict[str, Any]], Any]


class Refusal(Exception):
    """Makes the daemon answer with an error object."""

    def __init__(self, code: int, kind: str, message: str = "no", hint: str = "do this") -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "data": {"kind": kind, "hint": hint}}


@contextmanager
def daemon(path: Path, answer: Answer) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Serve `answer(method, params)`; yields the calls as they come."""
    calls: list[tuple[str, dict[str, Any]]] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def one(client: socket.socket) -> None:
        with client, client.makefile("rwb") as stream:
            for line in stream:
                request = json.loads(line)
                calls.append((request["method"], request["params"]))
                reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
                try:
                    reply["result"] = answer(request["method"], request["params"])
                except Refusal as err:
                    reply["error"] = err.error
                if reply.get("result") is not ...:
                    stream.write(json.dumps(reply).encode() + b"\n")
                    stream.flush()

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            one(client)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield calls
    finally:
        path.unlink(missing_ok=True)
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
