"""What the refiner can answer with.

RefineError
└── WrongFacts     a batch without the rights that every record must carry
"""

from __future__ import annotations


class RefineError(Exception):
    """Root of this package's errors."""

    kind = "refine"
    hint = "the message says what is missing"


class WrongFacts(RefineError):
    """Licence and consent are required facts of every record."""
