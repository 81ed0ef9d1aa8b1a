"""Buyer and seller of a sealed payload: the drivers of the sans-I/O machines in protocols/exchange."""
