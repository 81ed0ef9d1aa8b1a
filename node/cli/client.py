"""A JSON-RPC client in the standard library: one socket, one call at a time, notifications in between."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from node.cli.errors import NO_DAEMON, TIMEOUT, CliError, from_reply

# longer than the longest deadline of a method (600 s): the daemon knows better what has happened
PATIENCE_S = 660.0


class Client:
    """A connection to a daemon. Raises CliError when there is none."""

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        self._number = 0
        self._timeout_s = PATIENCE_S if timeout_s is None else timeout_s
        self._socket = _connect(path, self._timeout_s)
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The result of a call. Raises CliError."""
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": dict(params or {})}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            reply = self._reply()
        except TimeoutError as err:
            message = f"{method}: no answer in {self._timeout_s:g} s"
            raise CliError(message, TIMEOUT, kind="timeout", hint="the node goes on; look at: schwung status") from err
        except OSError as err:
            raise CliError(f"the connection to the node broke: {err}", NO_DAEMON, kind="no_daemon") from err
        if "error" in reply:
            raise from_reply(reply["error"])
        return reply["result"]

    def notifications(self) -> Iterator[Mapping[str, Any]]:
        """Everything that comes without being asked for, until the connection ends."""
        self._socket.settimeout(None)
        for line in self._lines:
            message = json.loads(line)
            if "method" in message:
                yield message

    def _reply(self) -> dict[str, Any]:
        for line in self._lines:
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == self._number or "error" in message:
                return message
        raise CliError("the node ended before it answered", NO_DAEMON, kind="no_daemon")


def _connect(path: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(path))
    except OSError as err:
        connection.close()
        if isinstance(err, (FileNotFoundError, ConnectionRefusedError)):
            raise no_daemon(path) from err
        raise CliError(f"cannot connect to {path}: {err}", NO_DAEMON, kind="no_daemon") from err
    return connection


def no_daemon(path: Path) -> CliError:
    """Nobody listens there."""
    return CliError(f"no node at {path}", NO_DAEMON, kind="no_daemon", hint="start one with: schwung run")
