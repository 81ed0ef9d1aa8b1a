"""Settings, networks, paths: what a node is told before it starts. Imports nothing of ours and nothing heavy."""
