"""collect: what flows into this node, with whose consent and under which licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from node.rpc.jobs import JobRunner, Progress
from node.rpc.method import Method
from node.rpc.values import Domain, Limit, Name, Result, Text, items, shown

Source = Annotated[str, Meta(min_length=1, max_length=4_096)]
Entry = str | dict[str, Any]
Entries = Annotated[list[Entry], Meta(min_length=1, max_length=10_000)]


class Collect(Protocol):
    """What collecting does for this noun; the mappings are its reports (items, records, duplicates, redactions …)."""

    async def add(
        self, source: str, *, domain: str, licence: str, consent: str, subject: str, progress: Progress
    ) -> Mapping[str, Any] | msgspec.Struct: ...
    async def put(
        self, items: Sequence[Entry], *, domain: str, licence: str, consent: str, subject: str
    ) -> Mapping[str, Any] | msgspec.Struct: ...
    async def sources(self, limit: int) -> Sequence[msgspec.Struct]: ...
    async def remove(self, source: str) -> int: ...


def methods(collect: Collect, jobs: JobRunner, default_licence: str) -> list[Method]:
    """Add, list, remove, put."""

    async def add(
        source: Source,
        domain: Domain,
        licence: Name | None = None,
        consent: Text | None = None,
        subject: Name | None = None,
    ) -> Result:
        """Collect a source into this node: a path, a glob, a URL, a feed. Answers with a job.

        `consent` is the statement under which the data may be used, `subject` whom they are about.
        """

        async def work(progress: Progress) -> Mapping[str, Any]:
            report = await collect.add(
                source,
                domain=domain,
                licence=licence or default_licence,
                consent=consent or "",
                subject=subject or "",
                progress=progress,
            )
            return dict(shown(report))

        return await jobs.start("collect", work)

    async def listed(limit: Limit = 100) -> Result:
        """The sources of this node and what came of them."""
        return items(await collect.sources(limit))

    async def remove(source: Source) -> Result:
        """Collect a source no more; its records stay until `records.forget`."""
        return {"source": source, "removed": await collect.remove(source)}

    async def put(
        domain: Domain,
        items: Entries,
        licence: Name | None = None,
        consent: Text | None = None,
        subject: Name | None = None,
    ) -> Result:
        """Hand over interactions or events of an application, as texts or as objects with a `text`."""
        report = await collect.put(
            items, domain=domain, licence=licence or default_licence, consent=consent or "", subject=subject or ""
        )
        return dict(shown(report))

    return [
        Method("collect.add", add),
        Method("collect.list", listed),
        Method("collect.remove", remove),
        Method("collect.put", put, deadline_s=300),
    ]
