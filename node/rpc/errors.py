"""Errors on the wire of JSON-RPC: the specification's codes, and one of ours for each class of trouble.

    RpcError
    ├── ParseError      −32700
    ├── InvalidRequest  −32600
    ├── MethodNotFound  −32601
    └── InvalidParams   −32602

Any other exception with a `kind` is one of ours: the kind decides the code, `error.data = {kind, hint}` the meaning.
One without is a bug: −32603 with an incident id; the traceback is in the log under that id and nowhere else.
"""

from __future__ import annotations

import secrets

import msgspec
import structlog

log = structlog.get_logger(__name__)


class RpcError(Exception):
    """An error that has a code of the specification."""

    code = -32603
    kind = "internal"
    hint = ""


class ParseError(RpcError):
    code = -32700
    kind = "parse_error"
    hint = "one JSON text a line, UTF-8, at most 1 MiB"


class InvalidRequest(RpcError):
    code = -32600
    kind = "invalid_request"
    hint = 'send {"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}'


class MethodNotFound(RpcError):
    code = -32601
    kind = "method_not_found"
    hint = "rpc.discover lists the methods"


class InvalidParams(RpcError):
    code = -32602
    kind = "invalid_params"
    hint = "rpc.discover has the parameters of every method"


class CallTimeout(Exception):
    """A call over its deadline; what it began goes on where a service owns it."""

    kind = "timeout"
    hint = "look at the state before you repeat it"


class NotFound(Exception):
    """A thing that this node does not know."""

    kind = "not_found"
    hint = "listings print ids in full; copy the whole"


class Invalid(Exception):
    """A value that has the right type and no sense."""

    kind = "invalid"
    hint = ""


class Unsupported(Exception):
    """Something that this node's settings do not offer."""

    kind = "unsupported"
    hint = ""


FAILED = -32010
# class of trouble → kinds; the CLI makes exit codes of the same kinds
CODES: dict[int, tuple[str, ...]] = {
    FAILED: ("failed", "journal", "market", "exchange", "feedback", "model_error", "embedder", "wallet", "identity",
             "network_error", "blocks_error", "bad_block", "collect", "refine", "shard", "console", "key_damaged",
             "key_exposed", "token_exposed", "key_reused", "locked", "deal"),
    -32011: ("not_found", "unknown_model", "no_provider"),
    -32012: ("refused", "peer_refused", "not_mine", "foreign_network", "protocol_error", "bad_signature", "wrong_peer",
             "rule_broken", "malformed", "wrong_key", "no_ticket", "wrong_receipt", "rights", "spend_limit", "voucher",
             "voucher_refused", "ahead_too_far", "too_late"),
    -32013: ("timeout", "still_pending"),
    -32014: ("insufficient_funds", "no_cover"),
    -32015: ("wallet_locked", "wrong_passphrase", "passphrase_unusable", "no_wallet", "wallet_exists"),
    -32016: ("invalid", "config", "bad_identifier", "bad_address", "bad_rating", "bad_call", "bad_artifact",
             "unsupported", "unreadable", "nothing_to_collect", "no_text_column", "nothing_to_sell", "too_little_data",
             "not_better", "unfollowed", "bad_network_key"),
    -32017: ("peer_unreachable", "peer_banned", "peer_vanished", "peer_busy", "listen_failed",
             "port_taken", "ipfs_unreachable", "other_network_key"),
    -32018: ("chain", "chain_unavailable", "chain_bad_reply", "chain_rpc_error", "wrong_chain", "reverted",
             "fees_too_high", "send_refused", "wrong_directory"),
    -32019: ("catalog_full", "store_full", "too_large", "request_too_large", "reply_too_large", "message_too_large",
             "busy"),
    -32020: ("payment_required",),
}  # fmt: skip
_CODE_OF = {kind: code for code, kinds in CODES.items() for kind in kinds}


class ErrorData(msgspec.Struct, frozen=True, omit_defaults=True):
    """What programs read: `kind`. What people do: `hint`."""

    kind: str
    hint: str = ""
    incident: str = ""


class Error(msgspec.Struct, frozen=True):
    """The error object of a response."""

    code: int
    message: str
    data: ErrorData


def to_error(exc: Exception) -> Error:
    """The error object for an exception; logs what nobody expected."""
    kind = getattr(exc, "kind", None)
    hint = str(getattr(exc, "hint", ""))
    if isinstance(exc, RpcError):
        return Error(exc.code, str(exc), ErrorData(exc.kind, hint))
    if isinstance(kind, str):
        return Error(_CODE_OF.get(kind, FAILED), str(exc) or kind.replace("_", " "), ErrorData(kind, hint))
    incident = secrets.token_hex(4)
    log.error("call failed unexpectedly", incident=incident, exc_info=exc)
    return Error(-32603, "internal error", ErrorData("internal", f"the log has it under incident {incident}", incident))
