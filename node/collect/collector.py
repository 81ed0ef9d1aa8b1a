"""Sources into the shard: read, refine, store, remember. Run again after anything, nothing is lost and nothing doubled.

A batch goes: which items are new (journal) → refine → announce the records (journal) → store them (shard, on the disk)
→ settle (journal). A crash between two steps is found out at the next run of the same source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog
import trio

from node.collect import rights
from node.collect.errors import CollectError, NothingToCollect
from node.collect.files import canonical, files
from node.collect.put import raw_item
from node.collect.readers import FieldsGiven, Flaw, Found, read
from node.collect.tally import CollectReport, Tally
from node.journal import Journal
from node.journal.items import Items
from node.journal.sources import Counts, Source, Sources
from node.refine import Batch, Facts, RawItem, Refiner
from node.refine.refiner import Vectors
from node.shard import Shard
from protocols.ids import parse_domain

log = structlog.get_logger(__name__)

BATCH = 128  # items: a second or two of embedding, what a crash repeats at most
PUT = "put:"  # what applications hand over has no path


class Progress(Protocol):
    """How far a run is; called on the trio thread."""

    def __call__(
        self, done: int | None = None, total: int | None = None, unit: str | None = None, note: str | None = None
    ) -> None: ...


class Events(Protocol):
    """Where state changes are told."""

    def publish(self, topic: str, data: dict[str, object]) -> object: ...


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one source."""

    max_file_bytes: int = 64 << 20
    max_items: int = 1_000_000


Wants = Callable[[str], Awaitable[Vectors | None]]


async def _no_wants(_domain: str) -> Vectors | None:
    return None


class Collector:
    """Collects into one shard. `owner` is who gives the consents: this node's wallet address."""

    def __init__(
        self,
        journal: Journal,
        shard: Shard,
        refiner: Refiner,
        events: Events,
        clock: Callable[[], int],
        *,
        owner: str = "",
        wants: Wants = _no_wants,
        limits: Limits = Limits(),  # noqa: B008  frozen
    ) -> None:
        self._sources = Sources(journal)
        self._items = Items(journal)
        self._shard = shard
        self._refiner = refiner
        self._events = events
        self._clock = clock
        self._owner = owner
        self._wants = wants
        self._limits = limits
        self._turn = trio.Lock()  # one batch at a time: two could not see each other's near duplicates

    async def add(
        self,
        source: str,
        *,
        domain: str,
        licence: str,
        consent: str = "",
        subject: str = "",
        fields: FieldsGiven = None,
        progress: Progress = lambda *_args, **_named: None,
    ) -> CollectReport:
        """Collect a file, folder or pattern. Raises CollectError; what was stored before it stays."""
        uri = canonical(source)
        rights_ = await self._rights(uri, domain, licence, consent, subject)
        paths = await trio.to_thread.run_sync(files, uri)
        run = await self._begin(rights_)
        tally = Tally(rights_.source)
        for path in paths:
            progress(tally.items, None, "items", str(path.name))
            try:
                await self._stream(run, read(path, fields, max_bytes=self._limits.max_file_bytes), tally, progress)
            except CollectError as err:
                if len(paths) == 1:
                    raise
                tally.unreadable.append(str(err))
        if not tally.items and not tally.flaws:
            reason = tally.unreadable[0] if tally.unreadable else f"{uri} holds no item: is the file empty?"
            raise NothingToCollect(reason)
        return await self._finish(tally, len(paths))

    async def put(
        self, items: Sequence[Any], *, domain: str, licence: str, consent: str = "", subject: str = ""
    ) -> CollectReport:
        """Take over texts, or objects with a `text`. Raises CollectError before anything is stored."""
        raw = [raw_item(entry, place) for place, entry in enumerate(items)]
        run = await self._begin(await self._rights(PUT + domain, domain, licence, consent, subject))
        tally = Tally(run.facts.source)
        await self._stream(run, iter(raw), tally, lambda *_args, **_named: None)
        return await self._finish(tally, 0)

    async def sources(self, limit: int = 100) -> list[Source]:
        """The sources, newest first, and what came of them so far."""
        return await self._sources.newest(limit)

    async def remove(self, source: str) -> int:
        """Forget a source, by its id or its path, and how often; its records stay until they are forgotten."""
        wanted = {source} if "://" in source or source.startswith(PUT) else {source, canonical(source)}
        found = {row.source for name in wanted for row in await self._sources.find(name)}
        for id in found:
            await self._items.drop(id)
        return len(found)

    # -- one run -------------------------------------------------------------------------------------------------------

    async def _rights(self, uri: str, domain: str, licence: str, consent: str, subject: str) -> Source:
        """The source row with everything checked; `consent` in it is still the statement."""
        name = rights.licence(licence)
        return Source(
            source=source_id(uri, parse_domain(domain)), uri=uri, domain=domain, licence=name,
            consent=rights.statement(consent, name), subject=subject, items=0, records=0, duplicates=0,
            near_duplicates=0, rejected=0, redactions=0, runs=0, added_at=self._clock(), collected_at=None,
        )  # fmt: skip

    async def _begin(self, source: Source) -> _Run:
        given = await self._sources.same_consent(source.consent, self._owner)
        consent = given or rights.make_consent(source.consent, self._owner, self._clock())
        number = await self._sources.begin(source, consent)
        async with self._turn:
            await self._recover(source.source)
        facts = Facts(
            domain=source.domain,
            licence=source.licence,
            consent=consent.consent,
            subject=source.subject,
            source=source.source,
        )
        return _Run(number, facts)

    async def _recover(self, source: str) -> None:
        pending = await self._items.pending(source)
        if not pending:
            return
        held = {record.id for record in await self._shard.fetch(list(pending.values()))}
        stored = [item for item, record in pending.items() if record in held]
        lost = [item for item, record in pending.items() if record not in held]
        await self._items.recover(source, stored, lost, Counts(len(stored), len(stored), 0, 0, 0, 0))
        log.info("an interrupted collection was settled", source=source, stored=len(stored), lost=len(lost))

    async def _stream(self, run: _Run, found: Iterator[Found], tally: Tally, progress: Progress) -> None:
        while batch := await trio.to_thread.run_sync(_take, found, BATCH):
            room = self._limits.max_items - tally.items
            if len(batch) > room:
                raise NothingToCollect(
                    f"the source has over {self._limits.max_items} items: the first {tally.items} are collected, "
                    "split the rest off into a source of its own"
                )
            async with self._turn:
                await self._batch(run, batch, tally)
            progress(tally.items, None, "items")

    async def _batch(self, run: _Run, found: Sequence[Found], tally: Tally) -> None:
        raw = [item for item in found if isinstance(item, RawItem)]
        tally.flaw(item for item in found if isinstance(item, Flaw))
        source = run.facts.source
        keys = [item_key(item) for item in raw]
        seen = await self._items.known(source, keys)
        new: dict[bytes, RawItem] = {}
        repeated = 0
        for key, item in zip(keys, raw, strict=True):
            if key in new or seen.get(key) == run.number:
                repeated += 1  # twice in the same file: a duplicate, not an old acquaintance
            elif key not in seen:
                new[key] = item
        batch = await self._store(run, new, repeated, len(found) - len(raw)) if new or repeated else None
        tally.add(len(raw), len(raw) - len(new) - repeated, repeated, batch)

    async def _store(self, run: _Run, new: dict[bytes, RawItem], repeated: int, flaws: int) -> Batch:
        source = run.facts.source
        batch = await self._refiner.refine(list(new.values()), run.facts, await self._wants(run.facts.domain))
        keys = list(new)
        stored = {keys[place]: record.id for place, record in zip(batch.places, batch.records, strict=True)}
        await self._items.announce(source, run.number, stored)
        await self._shard.put(batch.records)
        counts = Counts(
            items=len(new) + repeated + flaws,
            records=len(batch.records),
            duplicates=batch.duplicates + repeated,
            near_duplicates=batch.near_duplicates,
            rejected=sum(batch.rejected.values()) + flaws,
            redactions=sum(batch.redactions.values()),
        )
        await self._items.settle(source, run.number, (key for key in new if key not in stored), counts)
        await self._refiner.keep(batch)
        return batch

    async def _finish(self, tally: Tally, file_count: int) -> CollectReport:
        await self._sources.finish(tally.source, self._clock())
        report = tally.report(file_count)
        log.info("collected", source=report.source, items=report.items, records=report.records)
        told: dict[str, object] = {"source": report.source, "items": report.items, "records": report.records}
        self._events.publish("collect", told)
        return report


class _Run(msgspec.Struct, frozen=True):
    number: int
    facts: Facts


def source_id(uri: str, domain: str) -> str:
    """A source's id; records carry it in place of the path, which may tell more than its owner means to."""
    return hashlib.sha256(msgspec.json.encode([domain, uri])).hexdigest()[:16]


def item_key(item: RawItem) -> bytes:
    """SHA-256 of the raw content: the same line is the same item wherever it stands in the file."""
    labels: Mapping[str, str] = dict(sorted(item.labels.items()))
    text = [part.encode("utf-8", "surrogatepass").hex() for part in (item.title, item.text)]
    return hashlib.sha256(msgspec.json.encode([*text, [*labels.items()], item.created_at])).digest()


def _take(found: Iterator[Found], most: int) -> list[Found]:
    return [item for _, item in zip(range(most), found, strict=False)]
