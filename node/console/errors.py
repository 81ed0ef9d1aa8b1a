"""What the console answers with when it says no.

    ConsoleError
    ├── TokenExposed     the token's file is readable by others, or holds none
    ├── PortTaken        another program listens on the console's port
    └── Refused          an HTTP answer in the shape that OpenAI's clients read: status, type, code, message

Errors of the services below are turned into `Refused` by their `kind`; one without a kind is a bug and gets an
incident id.
"""

from __future__ import annotations

import secrets

import structlog

log = structlog.get_logger(__name__)


class ConsoleError(Exception):
    """Trouble with the console itself."""

    kind = "console"
    hint = ""


class TokenExposed(ConsoleError):
    kind = "token_exposed"
    hint = "delete the file; a new token is made at the next start"


class PortTaken(ConsoleError):
    kind = "port_taken"
    hint = "end the other program, or set console.port to another port (0 takes a free one)"


class Refused(ConsoleError):
    """An HTTP error. `type` and `code` as OpenAI's clients know them, `param` the field at fault."""

    def __init__(self, status: int, message: str, *, type: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}


INVALID = "invalid_request_error"
QUOTA = "insufficient_quota"
SERVER = "server_error"

# kind of a domain error -> (HTTP status, OpenAI's type)
STATUS: dict[str, tuple[int, str]] = {
    "bad_call": (400, INVALID),
    "unknown_model": (404, INVALID),
    "payment_required": (402, QUOTA),
    "insufficient_funds": (402, QUOTA),
    "no_cover": (402, QUOTA),
    "ahead_too_far": (402, QUOTA),
    "spend_limit": (402, QUOTA),
    "wallet_locked": (402, QUOTA),
    "no_wallet": (402, QUOTA),
    "no_provider": (503, SERVER),
    "chain_unavailable": (503, SERVER),
    "wrong_receipt": (502, SERVER),
    "bad_artifact": (500, SERVER),
}

CODES = {"unknown_model": "model_not_found"}  # kinds that OpenAI's clients know under a name of their own


def bad(message: str, param: str | None = None) -> Refused:
    """A request that is wrong in itself."""
    return Refused(400, message, type=INVALID, code="invalid_request", param=param)


def refusal(err: Exception) -> Refused:
    """Any exception as an answer; logs what nobody expected."""
    if isinstance(err, Refused):
        return err
    kind = getattr(err, "kind", "")
    if not isinstance(kind, str) or not kind:
        incident = secrets.token_hex(6)
        log.error("console request failed", incident=incident, exc_info=err)
        return Refused(500, f"internal error {incident}; see the node's log", type=SERVER, code="internal")
    status, type = STATUS.get(kind, (500, SERVER))
    hint = getattr(err, "hint", "")
    code = CODES.get(kind, kind)
    return Refused(status, f"{err}. {hint}" if hint else str(err), type=type, code=code)
