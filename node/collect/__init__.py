"""Collecting: from files and applications into the shard, with licence and consent on every record."""

from node.collect.collector import Collector, Limits
from node.collect.tally import CollectReport

__all__ = ["CollectReport", "Collector", "Limits"]
