"""What collecting can answer with.

CollectError
├── SourceMissing        the path names nothing
├── SourceUnreadable     a file that is not what its name says: undecodable, binary, broken, too large
├── NothingToCollect     a folder without a file that we read, a file without an item
├── NoTextColumn         a table in which no column is the text
├── WrongRights          a licence that is not one, a consent that is missing
└── WrongEntry           an entry of `put` that is neither a text nor an object with one
"""

from __future__ import annotations


class CollectError(Exception):
    """Root of this package's errors. What was collected before it stays, and is not collected twice."""

    kind = "collect"
    hint = "the message says what to do; run the same command again afterwards"


class SourceMissing(CollectError):
    """The path names nothing."""

    kind = "not_found"


class SourceUnreadable(CollectError):
    """A file that is not what its name says."""

    kind = "unreadable"


class NothingToCollect(CollectError):
    """There is nothing of a kind that we read."""

    kind = "nothing_to_collect"


class NoTextColumn(CollectError):
    """No column looks like the text."""

    kind = "no_text_column"


class WrongRights(CollectError):
    """Licence and consent are required facts of every record."""

    kind = "rights"
    hint = "collect.add takes licence and consent"


class WrongEntry(CollectError):
    """An entry of `put` that cannot be a record."""

    kind = "invalid"
