"""Business intelligence over shard, catalogue, journal and chain: what is wanted, what is held, what it earns."""
