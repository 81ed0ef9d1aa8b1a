"""The exception tree of the block store.

BlocksError
├── NotFound           no provider had a block, or the deadline passed
├── TooLarge           the content is over the caller's bound
├── BadBlock           bytes that are not what their CID says, or not a UnixFS file
├── StoreFull          the quota is used up by pinned content
└── DaemonUnreachable  the external IPFS daemon does not answer
"""

from __future__ import annotations


class BlocksError(Exception):
    """Anything that went wrong with stored or fetched content."""

    kind = "blocks_error"
    hint = "see the log"


class NotFound(BlocksError):
    kind = "not_found"
    hint = "the providers may be offline; try again later or name another"


class TooLarge(BlocksError):
    kind = "too_large"
    hint = "the content is not what was announced, or the bound is too low"


class BadBlock(BlocksError):
    kind = "bad_block"
    hint = "the sender is faulty or hostile; nothing was stored"


class StoreFull(BlocksError):
    kind = "store_full"
    hint = "raise ipfs.quota_bytes, or unpin what is no longer sold"


class DaemonUnreachable(BlocksError):
    kind = "ipfs_unreachable"
    hint = "start the IPFS daemon, or set ipfs.api to its address, or ipfs.mode to 'embedded'"
