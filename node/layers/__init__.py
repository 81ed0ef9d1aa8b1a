"""The services of a node, a layer a file; `node/app.py` stacks them.

Each `open_…` starts its services in the given stack (which stops them in reverse) and hands on a frozen struct with
them. A service gets what it needs by name; none looks anything up.
"""
