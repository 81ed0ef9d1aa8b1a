"""What the journal can answer with.

JournalError
├── JournalTooNew       the file was written by a newer Schwung
└── JournalMisuse       a callback ended the transaction by itself
"""

from __future__ import annotations


class JournalError(Exception):
    """The journal cannot be used; nothing was written."""

    kind = "journal"
    hint = "look at the message; the journal file itself was not changed"


class JournalTooNew(JournalError):
    """A newer program has migrated this file; going back would lose what it wrote."""

    hint = "run the Schwung version that wrote this folder, or a newer one"


class JournalMisuse(JournalError):
    """A bug of ours: the callback committed or rolled back, so atomicity is gone."""

    hint = "report this with the log"
