"""The exception tree of the chain client.

    ChainError
    ├── RpcUnavailable      the endpoint cannot be reached, or missed its deadline
    ├── BadReply            the endpoint answered something that is not JSON-RPC, or is over the size limit
    ├── RpcError            the endpoint answered with a JSON-RPC error (code, message, data)
    ├── WrongChain          the endpoint serves another chain than the network file names
    └── Reverted            a contract refused; `name` is its custom error

`kind` is for programs, `hint` says what to do.
"""

from __future__ import annotations

from typing import Any


class ChainError(Exception):
    """Anything that went wrong between us and the chain."""

    kind = "chain"
    hint = "look at the chain endpoint in the network file (chain.rpc_url)"


class RpcUnavailable(ChainError):
    """Nobody answered. A transaction that was being sent may have arrived all the same."""

    kind = "chain_unavailable"
    hint = "check that the chain endpoint runs and is reachable; the node goes on by itself when it is back"


class BadReply(ChainError):
    """The other side does not speak JSON-RPC as we know it."""

    kind = "chain_bad_reply"


class RpcError(ChainError):
    """An error object of JSON-RPC; `data` holds revert bytes as hex where the endpoint gives them."""

    kind = "chain_rpc_error"

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message
        self.data = data


class WrongChain(ChainError):
    """Signing for this chain would be signing for strangers."""

    kind = "wrong_chain"
    hint = "point chain.rpc_url at an endpoint of this network, or choose the other network with --network"


class Reverted(ChainError):
    """A contract refused the call: `name` is the custom error (or `Error`, `Panic`), `values` its arguments."""

    kind = "reverted"
    hint = "the contract refused this step in its present state; nothing was paid beside gas"

    def __init__(self, name: str, values: tuple[Any, ...] = (), transaction: str = "") -> None:
        where = f" in transaction {transaction}" if transaction else ""
        super().__init__(f"the contract refused: {name}({', '.join(_show(value) for value in values)}){where}")
        self.name = name
        self.values = values
        self.transaction = transaction


def _show(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
