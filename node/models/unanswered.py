"""Requests that were paid for and never properly answered: a provider who says that he served one has to show it.

In memory: texts of users do not belong into the journal. After a restart nobody here knows better than the provider.
"""

from __future__ import annotations

from collections import defaultdict, deque

from node.journal.model_calls import Call
from protocols.inference.messages import InferenceRequest

KEPT = 8  # of each model; only one of them can have been served, since one payment stands open at a time


class Unanswered:
    """By model, the newest last."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[tuple[InferenceRequest, Call]]] = defaultdict(lambda: deque(maxlen=KEPT))

    def keep(self, request: InferenceRequest, call: Call, *, perhaps_served: bool) -> None:
        """Remember a request that went out in vain; one that was surely not served only when nothing else is open."""
        kept = self._kept[call.model]
        known = any(earlier.request == call.request for _, earlier in kept)
        if not known and (perhaps_served or not kept):
            kept.append((request, call))

    def of(self, model: str) -> list[tuple[InferenceRequest, Call]]:
        """What is open with a model."""
        return list(self._kept.get(model, ()))

    def clear(self, model: str) -> None:
        """The model has answered for what it was paid."""
        self._kept.pop(model, None)
