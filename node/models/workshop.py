"""The builder's bench: train on the shard, keep the result on disk, list and judge what was made."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import structlog
import trio

from node.embed.embedder import Embedder
from node.journal.models import ModelRow
from node.journal.models import Models as ModelStore
from node.market.proof import Gone
from node.models.artifacts import Artifacts, Manifest, Report, model_id
from node.models.below import Below
from node.models.errors import BadArtifact, BadCall, UnknownModel
from node.models.evaluate import Evaluation, judge_classes, judge_retrieval
from node.models.examples import Corpus
from node.models.gathering import gather, label_corpus, label_key, parse_filter, retrieval_corpus
from node.models.memory import Remembering
from node.models.ports import Events, Lessons, Progress, Records, Wallet
from node.models.runtime import Runtime
from node.models.threads import limit_threads
from node.models.training import Trained, nearest_name, train_classifier, train_retrieval
from node.shard.record import ShardRecord
from protocols.ids import Address, parse_domain
from protocols.inference.card import CLASSIFY, RETRIEVAL, TASKS

MODEL_ID = re.compile("[0-9a-f]{64}")
SMALL = 5_000  # records whose training one thread does in about ten seconds

log = structlog.get_logger(__name__)


class TrainedModel(msgspec.Struct, frozen=True):
    """An own model: its row in the journal, what it is, how good it is."""

    row: ModelRow
    manifest: Manifest
    report: Report


class Workshop:
    """Trains one model at a time: the trainers want the cores."""

    def __init__(
        self,
        *,
        shard: Records,
        embedder: Embedder,
        store: ModelStore,
        artifacts: Artifacts,
        wallet: Wallet,
        events: Events,
        lessons: Lessons,
        held_out_ppm: int,
        threads: int,
        clock: Callable[[], int],
    ) -> None:
        self._shard = shard
        self._embedder = Remembering(embedder)
        self._store = store
        self._artifacts = artifacts
        self._wallet = wallet
        self._events = events
        self._lessons = lessons
        self._held_out_ppm = held_out_ppm
        self._threads = threads
        self._clock = clock
        self._bench = trio.Lock()
        self._trainer = trio.CapacityLimiter(1)
        self._disk = trio.CapacityLimiter(1)

    @property
    def builder(self) -> Address:
        """Whose models these are. Raises NoWallet."""
        return self._wallet.address

    async def train(
        self,
        domain: str,
        task: str,
        *,
        base: str | None = None,
        filter: Mapping[str, Any] | None = None,
        title: str = "",
        progress: Progress,
    ) -> TrainedModel:
        """Train on the shard's records of a domain; `task` is `retrieval` or `classification`.

        `base` may be an own model for retrieval: then the new one is made from it, judged against it, and names it as
        its parent when both are published.

        `filter` has the fields of the shard's filter, and `label`: the label that a classifier learns (by default the
        one that most records have).

        Records of a dataset that this wallet rated badly, or gave back, are left out; those of the others count more or
        less by the ratings of who bought them.

        Raises BadCall, TooLittleData, NoWallet. Training again on the same records gives the same model, as long as
        nobody has rated them since.
        """
        wanted = dict(filter or {})
        kind, label = self._check(domain, task, base, str(wanted.pop("label", "")))
        builder = self._wallet.address
        where = parse_filter(domain, wanted)
        async with self._bench:
            started = time.monotonic()
            progress(done=0, total=None, unit="records", note="reading the shard")
            found = await gather(self._shard, where)
            await self._lessons.read()
            records = [record for record in found if self._lesson(record.dataset) > 0]
            label = label_key(records, label) if kind == CLASSIFY else ""
            below = await self._below(base)
            trained = await self._run(kind, label, records, below, progress)
            manifest = Manifest(
                model=model_id(builder, domain, trained.graph),
                title=title or f"{domain} {kind}",
                domain=domain,
                task=kind,
                label=label,
                base=self._embedder.model_id,
                parent=below.model if below else "",
                dim=self._embedder.dim,
                method=trained.method,
                settings=trained.settings,
                classes=trained.classes,
                artifact=trained.artifact,
                builder=builder,
                trained_on=trained.trained_on,
                excluded=trained.excluded,
                left_out=len(found) - len(records),
                datasets=trained.datasets,
                shares=trained.shares,
                seconds=round(time.monotonic() - started, 3),
                created_at=self._clock(),
            )
            return await self._keep(manifest, trained)

    async def all(self) -> list[TrainedModel]:
        """Every own model, newest first; one whose files are damaged is left out, and said so in the log."""
        found = []
        for row in await self._store.all():
            try:
                found.append(await self._load(row))
            except BadArtifact as err:
                log.warning("model cannot be read", model=row.model, reason=str(err))
        return found

    async def get(self, model: str) -> TrainedModel:
        """Raises UnknownModel, BadArtifact."""
        row = await self._store.get(model)
        if row is None:
            raise UnknownModel(f"model {model} was not trained by this node")
        return await self._load(row)

    async def forget(self, gone: Gone) -> list[str]:
        """Drop remembered vectors; says which own models may have learnt from what is gone."""
        self._embedder.forget()
        return [
            f"model {row.model} of {row.domain} may have learnt from it: weights cannot be taken back, train it anew"
            for row in await self._store.all()
            if row.domain in gone.domains
        ]

    async def evaluate(self, model: str) -> tuple[TrainedModel, Evaluation]:
        """Judge an own model again from its files, on the records that were held out when it was trained.

        Raises UnknownModel, BadArtifact, or TooLittleData when those records have been forgotten.
        """
        found = await self.get(model)
        records = await self._shard.fetch(found.report.held_out)
        artifact = found.row.artifact
        runtime = await trio.to_thread.run_sync(self._artifacts.runtime, model, artifact, limiter=self._disk)
        below = await self._below(found.manifest.parent)
        if found.row.task == RETRIEVAL:
            corpus = await retrieval_corpus(records, self._embedder, _silent)
            return found, await self._judge_retriever(corpus, runtime, below)
        corpus, names = await label_corpus(records, found.manifest.label, self._embedder, _silent)
        return found, await self._judge_classifier(corpus, names, found.manifest.classes, runtime, below)

    async def _judge_retriever(self, corpus: Corpus, runtime: Runtime, below: Below | None) -> Evaluation:
        assert corpus.queries is not None
        queries = await runtime.apply(corpus.queries, "query")
        documents = await runtime.apply(corpus.documents, "document")
        before = await below.corpus(corpus) if below else corpus
        assert before.queries is not None
        return judge_retrieval((before.queries, before.documents), (queries, documents))

    async def _judge_classifier(
        self,
        corpus: Corpus,
        names: dict[str, np.ndarray],
        classes: tuple[str, ...],
        runtime: Runtime,
        below: Below | None,
    ) -> Evaluation:
        for name in set(classes) - set(names):
            names[name] = (await self._embedder.embed([name], query=True))[0]
        found = (await runtime.apply(corpus.documents, "document")).argmax(axis=1)
        truth = np.array([example.label for example in corpus.examples], dtype=object)
        if below:
            corpus, names = await below.corpus(corpus), await below.names(names)
        return judge_classes(nearest_name(corpus, classes, names), np.array(classes, dtype=object)[found], truth)

    async def _below(self, base: str | None) -> Below | None:
        """The own model that another is made from; None for the embedder itself. Raises UnknownModel, BadCall."""
        if base in (None, "", self._embedder.model_id):
            return None
        assert base is not None
        found = await self.get(base)
        if found.row.task != RETRIEVAL:
            raise BadCall(f"base {base[:12]}… is a classifier: models are made from retrievers")
        graph = await trio.to_thread.run_sync(self._artifacts.graph, base, limiter=self._disk)
        return Below(base, graph, Runtime(graph, expected_sha256=found.row.artifact))

    def _check(self, domain: str, task: str, base: str | None, label: str) -> tuple[str, str]:
        parse_domain(domain)
        if task not in TASKS:
            raise BadCall(f"task {task[:80]!r} is not known", hint=f"one of {', '.join(TASKS)}")
        if label and task != CLASSIFY:
            raise BadCall("filter.label is for classification; a retriever learns from titles")
        if base not in (None, "", self._embedder.model_id) and not MODEL_ID.fullmatch(str(base)):
            raise BadCall(
                f"base {str(base)[:96]!r} is neither an own model nor the embedder of this shard "
                f"({self._embedder.model_id})",
                hint="leave base out, or open a node with that embedding.model_dir",
            )
        return task, label

    async def _run(
        self, kind: str, label: str, records: list[ShardRecord], below: Below | None, progress: Progress
    ) -> Trained:
        builder, share = self._wallet.address, self._held_out_ppm
        # On small products a second thread gains nothing, and beside other work OpenBLAS's threads spin for each
        # other: 600 pairs took 20 CPU-seconds on two threads and 5 on one.
        limit_threads(self._threads if len(records) > SMALL else 1)
        if kind == RETRIEVAL:
            corpus = self._learning(await retrieval_corpus(records, self._embedder, progress))
            corpus = await below.corpus(corpus) if below else corpus
            progress(done=0, total=len(corpus.examples), unit="records", note="training")
            found = await trio.to_thread.run_sync(train_retrieval, corpus, builder, share, limiter=self._trainer)
            return below.under(found) if below else found
        corpus, names = await label_corpus(records, label, self._embedder, progress)
        corpus = self._learning(corpus)
        if below:
            corpus, names = await below.corpus(corpus), await below.names(names)
        progress(done=0, total=len(corpus.examples), unit="records", note="training")
        found = await trio.to_thread.run_sync(train_classifier, corpus, names, builder, share, limiter=self._trainer)
        return below.under(found) if below else found

    def _lesson(self, dataset: int) -> float:
        """Own records count fully: nobody has bought them yet."""
        return self._lessons.lesson(dataset) if dataset else 1.0

    def _learning(self, corpus: Corpus) -> Corpus:
        """The corpus with what feedback has taught about its datasets."""
        lessons = np.array([self._lesson(example.dataset) for example in corpus.examples])
        return corpus if (lessons == 1.0).all() else msgspec.structs.replace(corpus, lessons=lessons)

    async def _keep(self, manifest: Manifest, trained: Trained) -> TrainedModel:
        known = await self._store.get(manifest.model)
        if known is not None:
            return await self._load(known)
        report = Report(
            evaluation=trained.evaluation,
            own_only=trained.own_only,
            validation=trained.validation,
            held_out=trained.held_out,
        )
        await trio.to_thread.run_sync(self._artifacts.save, manifest, report, trained.graph, limiter=self._disk)
        row = ModelRow(
            model=manifest.model,
            domain=manifest.domain,
            task=manifest.task,
            state="trained",
            artifact=manifest.artifact,
            created_at=manifest.created_at,
        )
        await self._store.keep(row)
        evaluation = trained.evaluation
        log.info(
            "model trained",
            model=manifest.model,
            metric=evaluation.metric,
            before=round(evaluation.before.mean, 4),
            after=round(evaluation.after.mean, 4),
            held_out=evaluation.held_out,
        )
        self._events.publish("models", {"model": manifest.model, "state": "trained", "domain": manifest.domain})
        return TrainedModel(row, manifest, report)

    async def _load(self, row: ModelRow) -> TrainedModel:
        manifest = await trio.to_thread.run_sync(self._artifacts.manifest, row.model, limiter=self._disk)
        report = await trio.to_thread.run_sync(self._artifacts.report, row.model, limiter=self._disk)
        return TrainedModel(row, manifest, report)


def _silent(
    done: int | None = None, total: int | None = None, unit: str | None = None, note: str | None = None
) -> None:
    """For work that nobody watches."""
