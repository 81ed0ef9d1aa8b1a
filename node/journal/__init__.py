"""The crash-safe journal: SQLite, one noun a module.

A noun (`node/journal/<noun>.py`) brings its tables as `SCHEMA` and a small store class over `Journal`.
"""

from node.journal.journal import Journal, open_journal

__all__ = ["Journal", "open_journal"]
