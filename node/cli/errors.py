"""How a command ends: exit codes, and the one sentence that goes with them.

0 ok · 1 failed · 2 usage · 3 no daemon · 4 timeout · 5 refused · 6 insufficient funds · 130 interrupted
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OK, FAILED, USAGE, NO_DAEMON, TIMEOUT, REFUSED, FUNDS, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130

_BY_KIND = {
    "timeout": TIMEOUT,
    "insufficient_funds": FUNDS,
    "payment_required": FUNDS,
    "no_cover": FUNDS,
    "still_pending": TIMEOUT,
    "method_not_found": USAGE,
    "invalid_params": USAGE,
    **dict.fromkeys(
        (
            "refused", "peer_refused", "not_mine", "foreign_network", "wallet_locked", "wrong_passphrase", "no_ticket",
            "bad_signature", "wrong_peer", "rule_broken", "malformed", "protocol_error", "wrong_key", "wrong_receipt",
            "spend_limit", "voucher", "voucher_refused", "ahead_too_far", "rights", "no_wallet", "wallet_exists",
        ),
        REFUSED,
    ),
}  # fmt: skip


class CliError(Exception):
    """Ends the command with `code`; `error` is what --json prints."""

    def __init__(self, message: str, code: int = FAILED, *, kind: str = "failed", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.error: Mapping[str, Any] = {"message": message, "data": {"kind": kind, "hint": hint}}


def from_reply(error: Mapping[str, Any]) -> CliError:
    """The error object of a response as an exception."""
    data = error.get("data") or {}
    kind, hint = str(data.get("kind", "")), str(data.get("hint", ""))
    raised = CliError(str(error.get("message", "failed")), _BY_KIND.get(kind, FAILED), kind=kind, hint=hint)
    raised.error = error
    return raised


def usage(message: str, hint: str = "") -> CliError:
    """A command that was written wrongly."""
    return CliError(message, USAGE, kind="usage", hint=hint)
