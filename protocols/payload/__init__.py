"""How a payload goes from node to node: the messages of `/schwung/payload/1` and the shape of what it carries."""

from protocols.payload.messages import (
    MAX_ASK_BYTES,
    MAX_LEAVES,
    MAX_NODES,
    MAX_OPENED_BYTES,
    PROTOCOL,
    Leaves,
    Nodes,
    Open,
    Opened,
)
from protocols.payload.shape import LEAF_BYTES, LINKS_PER_NODE, MAX_NODE_BYTES, Shape

__all__ = [
    "LEAF_BYTES",
    "LINKS_PER_NODE",
    "MAX_ASK_BYTES",
    "MAX_LEAVES",
    "MAX_NODES",
    "MAX_NODE_BYTES",
    "MAX_OPENED_BYTES",
    "PROTOCOL",
    "Leaves",
    "Nodes",
    "Open",
    "Opened",
    "Shape",
]
