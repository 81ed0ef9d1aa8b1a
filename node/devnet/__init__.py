"""A whole network on this machine: chain, contracts, bootstrap node, nodes. For trying out, demos and tests."""
