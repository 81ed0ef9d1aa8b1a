"""What an operator sees of a running node: events, logs, metrics, health."""
