"""What feedback can answer with.

FeedbackError
├── NoTicket     the rating names no settled purchase or paid lane of this wallet
└── BadRating    the rating itself breaks a rule
"""

from __future__ import annotations


class FeedbackError(Exception):
    """A rating that cannot be given."""

    kind = "feedback"
    hint = ""


class NoTicket(FeedbackError):
    kind = "no_ticket"
    hint = "only who paid may rate: pass the deal's or the call's id as receipt (schwung deals list)"


class BadRating(FeedbackError):
    kind = "bad_rating"
    hint = "a rating is a whole number from 1 to 5"
