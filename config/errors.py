"""What configuration can answer with.

ConfigError
├── UnknownNetwork     no network file of that name or path
├── NetworkUnfilled    a network file with empty fields: a template, or a devnet that is not running
└── SocketPathTooLong  the kernel's limit for Unix sockets
"""

from __future__ import annotations


class ConfigError(Exception):
    """A setting that cannot be used; the message names the source and the key of every one found."""

    kind = "config"
    hint = "see: schwung config show --origin"


class UnknownNetwork(ConfigError):
    hint = "give --network a listed name or the path of a network file"


class NetworkUnfilled(ConfigError):
    hint = "fill in the network file, or start a local network: schwung devnet up"


class SocketPathTooLong(ConfigError):
    hint = "set --socket (or SCHWUNG_SOCKET) to a shorter path"
