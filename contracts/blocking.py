"""JSON-RPC for code that may block: scripts, deployment, the books. The node itself uses `contracts.rpc` under trio.

RpcFailed: nobody answered, or the answer was an error
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

TIMEOUT_S = 30
BATCH = 100  # what every endpoint we know accepts


class RpcFailed(Exception):
    """The chain endpoint gave no usable answer; `data` is the error's, such as revert bytes in hex."""

    def __init__(self, message: str, data: object = None) -> None:
        super().__init__(message)
        self.data = data


def call(url: str, method: str, *params: Any, timeout_s: float = TIMEOUT_S) -> Any:
    """The result of one call. Raises RpcFailed."""
    answer = _post(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, timeout_s)
    return _result(answer, method)


def call_many(url: str, calls: Sequence[tuple[str, Sequence[Any]]], *, timeout_s: float = TIMEOUT_S) -> list[Any]:
    """The results of many calls in their order, sent in batches. Raises RpcFailed when one of them fails."""
    results: list[Any] = []
    for start in range(0, len(calls), BATCH):
        part = calls[start : start + BATCH]
        body = [{"jsonrpc": "2.0", "id": n, "method": m, "params": p} for n, (m, p) in enumerate(part)]
        answers = _post(url, body, timeout_s)
        if not isinstance(answers, list) or len(answers) != len(part):
            raise RpcFailed(f"{url} does not answer batches")
        in_order = sorted(answers, key=lambda answer: int(answer["id"]))
        results += [_result(answer, part[n][0]) for n, answer in enumerate(in_order)]
    return results


def _post(url: str, body: Any, timeout_s: float) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310 (the operator's own endpoint)
            return json.loads(reply.read())
    except (urllib.error.URLError, OSError, ValueError) as err:
        raise RpcFailed(f"no chain answers at {url}: {err}") from err


def _result(answer: Any, method: str) -> Any:
    if not isinstance(answer, dict):
        raise RpcFailed(f"{method}: the answer is not JSON-RPC")
    if "error" in answer:
        error = answer["error"]
        raise RpcFailed(f"{method}: {error.get('message', error)}", error.get("data"))
    return answer["result"]
