"""What the shard can answer with.

ShardError
├── WrongModel       the table, or a record, belongs to another embedding model
├── BadRecord        a record or vector that must not be stored or searched with
└── ShardBroken      LanceDB cannot read or write the folder
"""

from __future__ import annotations


class ShardError(Exception):
    """Root of this package's errors; nothing was changed."""

    kind = "shard"
    hint = "the message says what does not fit"


class WrongModel(ShardError):
    """Vectors of two models cannot be compared, so one shard holds vectors of one."""

    hint = "set embedding.model_dir to the embedder that the shard was made with, or use another --datadir"


class BadRecord(ShardError):
    """A wrong dimension, a vector that is not of length 1, or text that UTF-8 cannot hold."""


class ShardBroken(ShardError):
    """The folder cannot be read or written."""

    hint = "look at the space and the rights of the shard's folder"
