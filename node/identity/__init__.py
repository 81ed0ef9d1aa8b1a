"""Who this node is: its network key, its wallet in a keystore, its session key for vouchers."""
