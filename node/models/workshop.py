"""The builder's bench: train on the shard, keep the result on disk, list and judge what was made."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import structlog
import trio

from node.embed.embedder import Embedder
from node.journal.models import ModelRow
from node.journal.models import Models as ModelStore
from node.models.artifacts import Artifacts, Manifest, Report, model_id
from node.models.errors import BadCall, UnknownModel
from node.models.gathering import gather, label_corpus, label_key, parse_filter, retrieval_corpus
from node.models.ports import Events, Progress, Records, Wallet
from node.models.training import Trained, train_classifier, train_retrieval
from node.shard.record import ShardRecord
from protocols.ids import parse_domain
from protocols.inference.card import CLASSIFY, RETRIEVAL, TASKS

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
        held_out_ppm: int,
        clock: Callable[[], int],
    ) -> None:
        self._shard = shard
        self._embedder = embedder
        self._store = store
        self._artifacts = artifacts
        self._wallet = wallet
        self._events = events
        self._held_out_ppm = held_out_ppm
        self._clock = clock
        self._bench = trio.Lock()
        self._trainer = trio.CapacityLimiter(1)
        self._disk = trio.CapacityLimiter(1)

    async def train(
        self,
        domain: str,
        task: str,
        *,
        base: str | None = None,
        filter: dict[str, object] | None = None,
        title: str = "",
        progress: Progress,
    ) -> TrainedModel:
        """Train on the shard's records of a domain; `task` is `retrieval`, `classify` or `classify:<label>`.

        Raises BadCall, TooLittleData, NoWallet. Training again on the same records gives the same model.
        """
        kind, label = self._check(domain, task, base)
        builder = self._wallet.address
        where = parse_filter(domain, filter)
        async with self._bench:
            started = time.monotonic()
            progress(done=0, total=None, unit="records", note="reading the shard")
            records = await gather(self._shard, where)
            label = label_key(records, label) if kind == CLASSIFY else ""
            trained = await self._run(kind, label, records, progress)
            manifest = Manifest(
                model=model_id(builder, domain, trained.graph),
                title=title or f"{domain} {kind}",
                domain=domain,
                task=kind,
                label=label,
                base=self._embedder.model_id,
                dim=self._embedder.dim,
                method=trained.method,
                settings=trained.settings,
                classes=trained.classes,
                artifact=trained.artifact,
                builder=builder,
                trained_on=trained.trained_on,
                excluded=trained.excluded,
                datasets=trained.datasets,
                shares=trained.shares,
                seconds=round(time.monotonic() - started, 3),
                created_at=self._clock(),
            )
            return await self._keep(manifest, trained)

    async def list(self) -> list[TrainedModel]:
        """Every own model, newest first."""
        return [await self._load(row) for row in await self._store.all()]

    async def get(self, model: str) -> TrainedModel:
        """Raises UnknownModel, BadArtifact."""
        row = await self._store.get(model)
        if row is None:
            raise UnknownModel(f"model {model} was not trained by this node")
        return await self._load(row)

    def _check(self, domain: str, task: str, base: str | None) -> tuple[str, str]:
        parse_domain(domain)
        kind, _, label = task.partition(":")
        if kind not in TASKS or (label and kind != CLASSIFY):
            raise BadCall(f"task {task[:80]!r} is not known", hint="retrieval, classify or classify:<label>")
        if base not in (None, "", self._embedder.model_id):
            raise BadCall(
                f"base {base[:96]!r} is not the embedder of this shard ({self._embedder.model_id})",
                hint="leave base out, or open a node with that embedding.model_dir",
            )
        return kind, label

    async def _run(self, kind: str, label: str, records: list[ShardRecord], progress: Progress) -> Trained:
        builder, share = self._wallet.address, self._held_out_ppm
        if kind == RETRIEVAL:
            corpus = await retrieval_corpus(records, self._embedder, progress)
            progress(done=0, total=len(corpus.examples), unit="records", note="training")
            return await trio.to_thread.run_sync(train_retrieval, corpus, builder, share, limiter=self._trainer)
        corpus, names = await label_corpus(records, label, self._embedder, progress)
        progress(done=0, total=len(corpus.examples), unit="records", note="training")
        return await trio.to_thread.run_sync(train_classifier, corpus, names, builder, share, limiter=self._trainer)

    async def _keep(self, manifest: Manifest, trained: Trained) -> TrainedModel:
        known = await self._store.get(manifest.model)
        if known is not None:
            return await self._load(known)
        report = Report(evaluation=trained.evaluation, own_only=trained.own_only, validation=trained.validation)
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
