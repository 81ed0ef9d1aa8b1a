"""The vector shard: this node's records and their embeddings, in LanceDB."""

from node.shard.filter import Filter
from node.shard.record import ShardRecord
from node.shard.shard import Hit, Shard, ShardStats, open_shard

__all__ = ["Filter", "Hit", "Shard", "ShardRecord", "ShardStats", "open_shard"]
