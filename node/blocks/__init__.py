"""Content by its hash: ciphertext is added, pinned, served to any IPFS peer, and fetched from several.

`Blocks` is what the rest of the node knows. `EmbeddedBlocks` keeps blocks in the node's folder and speaks Bitswap
over the node's own host; `IpfsRpcBlocks` leaves both to an external IPFS daemon. The settings choose (`ipfs.mode`).
"""

from node.blocks.blocks import Blocks
from node.blocks.embedded import EmbeddedBlocks, open_embedded
from node.blocks.errors import BadBlock, BlocksError, DaemonUnreachable, NotFound, StoreFull, TooLarge
from node.blocks.rpc import IpfsRpcBlocks, open_rpc

__all__ = [
    "BadBlock",
    "Blocks",
    "BlocksError",
    "DaemonUnreachable",
    "EmbeddedBlocks",
    "IpfsRpcBlocks",
    "NotFound",
    "StoreFull",
    "TooLarge",
    "open_embedded",
    "open_rpc",
]
