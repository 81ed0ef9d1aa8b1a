from __future__ import annotations

import msgspec
import numpy as np
import pytest

from node.models.errors import BadArtifact, BadCall, NotBetter, TooLittleData, UnknownModel
from node.models.memory import Remembering
from node.models.split import bucket_ppm
from node.wallet.errors import WalletLocked
from protocols.codec import decode
from protocols.inference.card import ModelCard, check_card
from tests.support.embedder import HashEmbedder
from tests.support.items import CHAIN_ID, NETWORK, NOW
from tests.support.models import Room, Shelf, reviews, silent
from tests.unit.models.conftest import CONTRIBUTORS


async def trained(room: Room, task: str = "retrieval", **given: object) -> dict[str, object]:
    return await room.models.train("fashion", task, progress=silent, **given)


async def test_training_keeps_a_model_with_its_evaluation(builder: Room):
    found = await trained(builder)
    assert found["metric"] == "ndcg@10"
    assert found["after"] > found["before"]
    assert found["gain_low"] > 0
    assert found["state"] == "trained"
    folder = builder.artifacts._folder / str(found["model"])
    assert sorted(path.name for path in folder.iterdir()) == ["adapter.onnx", "card.json", "evaluation.json"]
    assert (await builder.models.get(str(found["model"])))["evaluation"] == found["evaluation"]


async def test_titles_do_not_leak_through_the_shards_vectors(builder: Room):
    """The shard embeds title and text together; the trainer must see vectors of the text alone."""
    honest = await trained(builder)
    bare = await builder.embedder.embed([r.text for r in builder.shelf.records.values()])
    texts = [
        msgspec.structs.replace(record, vector=vector)
        for record, vector in zip(builder.shelf.records.values(), bare, strict=True)
    ]
    builder.shelf = Shelf(texts)
    builder.workshop._shard = builder.shelf
    assert (await trained(builder))["model"] == honest["model"]


async def test_vectors_of_the_text_alone_are_not_made_again(builder: Room):
    bare = await builder.embedder.embed([r.text for r in builder.shelf.records.values()])
    records = [
        msgspec.structs.replace(record, vector=vector)
        for record, vector in zip(builder.shelf.records.values(), bare, strict=True)
    ]
    builder.workshop._shard = Shelf(records)
    before = builder.embedder.embedded
    await trained(builder)
    assert builder.embedder.embedded - before < 360 + 40  # the titles and a few probes


async def test_training_again_gives_the_same_model(builder: Room):
    first, second = await trained(builder), await trained(builder)
    assert first["model"] == second["model"]
    assert len(await builder.models.list()) == 1


async def test_evaluating_again_gives_the_same_numbers(builder: Room):
    for task in ("retrieval", "classification"):
        found = await trained(builder, task)
        again = await builder.models.evaluate(str(found["model"]))
        assert again["after"]["mean"] == pytest.approx(found["after"], abs=1e-3)
        assert again["before"]["mean"] == pytest.approx(found["before"], abs=1e-6)


async def test_texts_are_embedded_once_for_both_tasks_and_the_evaluation(builder: Room):
    found = await trained(builder)
    before = builder.embedder.embedded
    await trained(builder, "classification")
    await builder.models.evaluate(str(found["model"]))
    assert builder.embedder.embedded - before <= 3 + 8  # the names of the classes, and some probes


async def test_an_embedder_forgets_the_oldest():
    below = HashEmbedder()
    memory = Remembering(below, most=2)
    first = await memory.embed(["a", "b", "c", "a"])
    assert below.embedded == 3
    assert (first == await below.embed(["a", "b", "c", "a"])).all()
    below.embedded = 0
    await memory.embed(["b", "c"])
    await memory.embed(["c"], query=True)
    assert below.embedded == 1
    await memory.embed(["a"])
    assert below.embedded == 2
    assert (await memory.embed([])).shape == (0, 64)


async def test_evaluating_again_ignores_records_that_came_later(builder: Room):
    found = await trained(builder)
    for record in await reviews(200, seed=99):
        builder.shelf.records[record.id] = record
    again = await builder.models.evaluate(str(found["model"]))
    assert again["held_out"] == found["held_out"]


async def test_the_held_out_records_are_those_of_their_ids(builder: Room):
    found = await trained(builder)
    report = (await builder.workshop.get(str(found["model"]))).report
    assert all(bucket_ppm(id, "held-out") < 250_000 for id in report.held_out)
    assert len(report.held_out) == found["held_out"]


async def test_a_classifier_learns_the_label_that_is_there(builder: Room):
    found = await trained(builder, "classification")
    assert set(found["classes"]) == {"coat", "dress", "jeans"}
    assert found["metric"] == "accuracy"
    assert found["after"] > 0.9


async def test_a_filter_narrows_the_records(builder: Room):
    found = await trained(builder, filter={"origin": "bought"})
    assert found["datasets"] == (7, 8)
    assert found["trained_on"] + found["excluded"] + found["held_out"] == 240


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"task": "dance"}, "task 'dance'"),
        ({"base": "another"}, "neither an own model nor the embedder"),
        ({"filter": {"colour": "red"}}, "'colour'"),
        ({"filter": {"min_quality": "high"}}, "filter"),
        ({"filter": {"label": "class"}}, "for classification"),
    ],
)
async def test_a_bad_order_says_what_is_wrong(builder: Room, given, words):
    with pytest.raises(BadCall, match=words):
        await trained(builder, **given)


async def test_too_few_records_and_missing_titles_say_so(consumer: Room):
    with pytest.raises(TooLittleData, match="none of 0 records"):
        await trained(consumer)
    consumer.workshop._shard = Shelf(await reviews(60))
    with pytest.raises(TooLittleData, match="held out"):
        await trained(consumer)
    with pytest.raises(TooLittleData, match="has a label"):
        await trained(consumer, "classification", filter={"label": "colour"})


async def test_publishing_fixes_a_valid_card_and_goes_on_chain(builder: Room):
    found = await trained(builder)
    done = await builder.models.publish(str(found["model"]), 5_000)
    assert done["state"] == "published"
    row = await builder.store.get(str(found["model"]))
    card = decode(row.card, ModelCard, max_bytes=1 << 20)
    check_card(card, network=NETWORK, chain_id=CHAIN_ID, now=NOW)
    assert builder.cellar.blocks[row.cid] == row.card
    assert {weight.address for weight in card.weights} == {builder.account.address, *CONTRIBUTORS}
    assert [weight.dataset for weight in card.weights] == [0, 7, 8]
    assert bytes.fromhex(row.model) in builder.chain.published


async def test_a_publication_that_was_killed_goes_on_with_the_same_card(builder: Room):
    model = str((await trained(builder))["model"])
    builder.chain.fail_next = True
    with pytest.raises(ConnectionError):
        await builder.models.publish(model, 5_000)
    fixed = (await builder.store.get(model)).card
    builder.now += 60
    assert (await builder.models.publish(model, 9_999))["price_wei"] == 5_000
    await builder.models.resume()
    assert (await builder.store.get(model)).card == fixed
    assert builder.chain.keys == [f"model:{model}:publish"]


async def test_a_card_that_ends_soon_is_told_again(builder: Room):
    model = str((await trained(builder))["model"])
    await builder.models.publish(model, 5_000)
    first = (await builder.store.get(model)).item
    await builder.models.resume()
    assert (await builder.store.get(model)).item == first
    builder.now += 70 * 86_400
    await builder.models.resume()
    builder.now += 30 * 86_400  # the first card is over
    (card,) = await builder.models.cards()
    assert card.model == model
    assert builder.chain.keys == [f"model:{model}:publish"]


async def test_a_share_that_leaves_contributors_nothing_is_refused(builder: Room):
    model = str((await trained(builder))["model"])
    builder.publishing._policy = msgspec.structs.replace(builder.publishing._policy, publisher_bps=9_001)
    with pytest.raises(BadCall, match="publisher_bps"):
        await builder.models.publish(model, 5_000)


async def test_one_damaged_model_does_not_hide_the_others(builder: Room):
    models = [str((await trained(builder, task))["model"]) for task in ("retrieval", "classification")]
    (builder.artifacts._folder / models[0] / "card.json").write_text("{")
    assert [view.model for view in await builder.models.list()] == models[1:]


async def test_a_model_that_is_not_better_is_not_published_unless_forced(builder: Room):
    records = [
        msgspec.structs.replace(record, title=f"unrelated{number} heading{number}")
        for number, record in enumerate(builder.shelf.records.values())
    ]
    builder.workshop._shard = Shelf(records)
    model = str((await trained(builder))["model"])
    with pytest.raises(NotBetter, match="not above zero"):
        await builder.models.publish(model, 1)
    assert (await builder.store.get(model)).state == "trained"
    assert (await builder.models.publish(model, 1, force=True))["state"] == "published"


async def test_a_locked_wallet_or_a_silly_price_publishes_nothing(builder: Room):
    model = str((await trained(builder))["model"])
    with pytest.raises(BadCall, match="above 0"):
        await builder.models.publish(model, 0)
    builder.account.locked = True
    with pytest.raises(WalletLocked):
        await builder.models.publish(model, 1)
    assert (await builder.store.get(model)).state == "trained"


async def test_unknown_and_damaged_models(builder: Room):
    with pytest.raises(UnknownModel):
        await builder.models.get("ab" * 32)
    model = str((await trained(builder))["model"])
    graph = builder.artifacts._folder / model / "adapter.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    with pytest.raises(BadArtifact, match="not the one"):
        await builder.models.evaluate(model)
    (graph.parent / "card.json").unlink()
    with pytest.raises(BadArtifact, match="cannot be read"):
        await builder.models.get(model)


async def test_attribution_follows_the_records(builder: Room):
    found = await trained(builder)
    weights = {share.address: share for share in found["weights"]}
    assert sum(share.weight_ppm for share in weights.values()) == 1_000_000
    assert sum(share.records for share in weights.values()) == found["trained_on"]
    assert np.ptp([share.weight_ppm for share in weights.values()]) < 500_000  # three equal parts of one kind


async def test_records_of_a_dataset_that_was_given_back_do_not_train(builder: Room):
    before = await trained(builder)
    builder.teacher.lessons[7] = 0.0
    after = await trained(builder)
    assert after["datasets"] == (8,)
    assert after["left_out"] == 120
    assert after["model"] != before["model"]


@pytest.mark.parametrize("task", ["retrieval", "classification"])
async def test_what_is_rated_low_counts_less_in_training(builder: Room, task: str):
    """The more ratings say, the further the model moves; and nothing of it moves what is judged."""
    plain = await trained(builder, task)
    builder.teacher.lessons[7] = 0.6
    lighter = await trained(builder, task)
    assert lighter["model"] != plain["model"]
    assert (lighter["trained_on"], lighter["held_out"]) == (plain["trained_on"], plain["held_out"])


async def test_training_follows_the_better_data(builder: Room):
    """A dataset whose titles belong to other texts spoils the model; rated low, it spoils less of it."""
    records = list(builder.shelf.records.values())
    titles = [record.title for record in records if record.dataset == 7]
    mixed = iter(titles[1:] + titles[:1])
    spoilt = [
        msgspec.structs.replace(record, title=next(mixed)) if record.dataset == 7 else record for record in records
    ]
    builder.workshop._shard = Shelf(spoilt)
    equal = await trained(builder)
    builder.teacher.lessons[7] = 0.0
    without = await trained(builder)
    assert without["after"] > equal["after"]


@pytest.mark.parametrize("task", ["retrieval", "classification"])
async def test_a_model_made_from_another_is_one_graph_judged_against_it(builder: Room, task: str):
    base = await trained(builder)
    child = await trained(builder, task, base=str(base["model"]))
    assert child["made_from"] == base["model"] != child["model"]
    if task == "retrieval":
        assert child["before"] == pytest.approx(base["after"], abs=1e-3)
    again = await builder.models.evaluate(str(child["model"]))
    assert again["before"]["mean"] == pytest.approx(child["before"], abs=1e-3)
    assert again["after"]["mean"] == pytest.approx(child["after"], abs=2e-3)


async def test_a_child_names_its_published_base_as_parent(builder: Room):
    builder.publishing._policy = msgspec.structs.replace(builder.publishing._policy, child_bps=1_500)
    base = str((await trained(builder))["model"])
    child = str((await trained(builder, "classification", base=base))["model"])
    await builder.models.publish(base, 5_000)
    with pytest.raises(BadCall, match="cannot be another"):
        await builder.models.publish(child, 5_000, parent="ab" * 32, force=True)
    shown = await builder.models.publish(child, 5_000, force=True)
    assert (shown["parent"], shown["parent_bps"]) == (base, 1_500)
    answer = await builder.models.call(child, ["a warm coat"])
    assert len(answer["outputs"][0]) == 3
    with pytest.raises(BadCall, match="is a classifier"):
        await trained(builder, base=child)
    with pytest.raises(UnknownModel):
        await trained(builder, base="cd" * 32)
