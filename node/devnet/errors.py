"""What the devnet can answer with: DevnetError, whose message says what to do."""

from __future__ import annotations


class DevnetError(Exception):
    """The local network cannot be started, joined or funded."""

    kind = "devnet"
    hint = "see: schwung devnet status"


class NotADevnet(DevnetError):
    """A chain that is not the local devnet's: its keys are public, nothing is ever sent to another one."""

    kind = "refused"
    hint = "fund accounts on other chains with your own wallet"
