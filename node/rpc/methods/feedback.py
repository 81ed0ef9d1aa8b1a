"""feedback: ratings by those who really paid."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from node.feedback.service import Feedback
from node.rpc.method import Method
from node.rpc.values import Name, Result, items, shown

Rating = Annotated[int, Meta(ge=1, le=5)]
Comment = Annotated[str, Meta(max_length=2_000)]


def methods(feedback: Feedback) -> list[Method]:
    """Give and list."""

    async def give(
        subject: Name, receipt: Name, rating: Rating, comment: Comment = "", outcome: Name | None = None
    ) -> Result:
        """Rate an offer (receipt: the deal) or a model (receipt: of a call), 1 to 5; rewarded by the pool."""
        given = await feedback.give(subject, receipt, rating, comment, outcome or "")
        view = dict(shown(given))
        view.pop("body", None)
        return view

    async def listed(subject: Name | None = None) -> Result:
        """The ratings heard so far; `ticket_ok` says whether the chain confirms that the author paid."""
        return items(await feedback.list(subject))

    return [Method("feedback.give", give, deadline_s=300), Method("feedback.list", listed)]
