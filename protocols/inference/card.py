"""The model card: what a builder says about a model he serves, and the rules an honest card keeps.

The weights stand in the card leaf by leaf, one a dataset with its owner beside it, so every contributor can find his
share and make his own proof; their Merkle root is on chain, and a card whose leaves do not give its root is refused.
Who is paid, the chain knows: the registry's owner of the dataset, for dataset 0 the publisher. The metric is the
builder's claim about his held-out part: nobody else can recompute it, which is why users rate models and receipts
exist.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, decode
from protocols.envelope import MAX_BODY_BYTES, Item
from protocols.errors import RuleBroken
from protocols.ids import parse_address, parse_domain
from protocols.inference import weights
from protocols.inference.weights import MAX_DATASETS, OWN, WHOLE_PPM, WeightsTree
from protocols.offers.offer import Hash, check_context, check_lifetime
from protocols.quality import Ppm
from protocols.wei import Wei, parse_wei

KIND = "model"
RETRIEVAL = "retrieval"
CLASSIFY = "classification"
TASKS = (RETRIEVAL, CLASSIFY)
MAX_CLASSES = 64
MAX_PUBLISHER_BPS = 9_000  # what `ModelRegistry` takes: the contributors' part may be small, never nothing
MAX_PARENT_BPS = 5_000


class Weight(Message, frozen=True, kw_only=True):
    """One dataset's part of the contributors' revenue; its index is its position in the card. Dataset 0 is the
    publisher's own unregistered data. At most 66 bytes each: 17 KiB of the 48 KiB a body may have.
    """

    dataset: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    address: Annotated[str, Meta(max_length=42)]
    weight_ppm: Ppm


class Claim(Message, frozen=True, kw_only=True):
    """The metric on the held-out part, before and after training; `gain_low` is the lower end of the gain's 95 %
    interval.

    Scores are ppm; the interval's end may be negative.
    """

    metric: Annotated[str, Meta(min_length=1, max_length=32)]
    held_out: Annotated[int, Meta(ge=1, le=1 << 32)]
    trained_on: Annotated[int, Meta(ge=1, le=1 << 32)]
    before: Ppm
    after: Ppm
    gain_low: Annotated[int, Meta(ge=-WHOLE_PPM, le=WHOLE_PPM)]


class ModelCard(Message, frozen=True, kw_only=True):
    """A model on offer. `price_wei` is for one input; `base` and `dim` name the embedder below the adapter.

    `parent_bps` of the income goes to the model `parent` that this one was built on; a model built on this one owes
    it `child_bps` at least.
    """

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    network: Annotated[str, Meta(max_length=64)]
    chain_id: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
    model: Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
    title: Annotated[str, Meta(min_length=1, max_length=200)]
    domain: Annotated[str, Meta(max_length=32)]
    task: Annotated[str, Meta(max_length=16)]
    base: Annotated[str, Meta(min_length=1, max_length=96)]
    dim: Annotated[int, Meta(ge=1, le=4_096)]
    classes: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=MAX_CLASSES)] = []
    artifact: Hash
    claim: Claim
    price_wei: Wei
    payee: Annotated[str, Meta(max_length=42)]
    publisher_bps: Annotated[int, Meta(ge=0, le=MAX_PUBLISHER_BPS)]
    parent: Annotated[str, Meta(pattern="^(|[0-9a-f]{64})\\Z")] = ""
    parent_bps: Annotated[int, Meta(ge=0, le=MAX_PARENT_BPS)] = 0
    child_bps: Annotated[int, Meta(ge=0, le=MAX_PARENT_BPS)] = 0
    weights: Annotated[list[Weight], Meta(min_length=1, max_length=MAX_DATASETS)]
    weights_root: Hash
    created_at: Annotated[int, Meta(ge=0, le=1 << 53)]
    expires_at: Annotated[int, Meta(ge=0, le=1 << 53)]


def read_card(item: Item, *, network: str, chain_id: int, now: int) -> ModelCard:
    """The card in a checked envelope. Raises Malformed, BadIdentifier or RuleBroken."""
    if item.kind != KIND:
        raise RuleBroken(f"a model card was expected, this is a {item.kind!r}")
    card = decode(item.body, ModelCard, max_bytes=MAX_BODY_BYTES)
    check_card(card, network=network, chain_id=chain_id, now=now)
    return card


def check_card(card: ModelCard, *, network: str, chain_id: int, now: int) -> None:
    """The rules, cheap ones first. Raises RuleBroken or BadIdentifier with the rule that is broken."""
    check_context(card.network, card.chain_id, network, chain_id)
    check_lifetime(card.created_at, card.expires_at, now)
    parse_domain(card.domain)
    parse_address(card.payee)
    if card.task not in TASKS:
        raise RuleBroken(f"task {card.task!r}: one of {', '.join(TASKS)}")
    if (card.task == CLASSIFY) != bool(card.classes):
        raise RuleBroken("a classifier names its classes, a retriever has none")
    if card.parent_bps and not card.parent:
        raise RuleBroken("a parent's share without a parent")
    if parse_wei(card.price_wei) == 0:
        raise RuleBroken("a model without a price: its contributors would get nothing")
    _check_weights(card)


def lane(model: str) -> int:
    """The voucher lane of a model: the low 64 bits of its id, as `ModelRegistry` has it."""
    return int(model, 16) & ((1 << 64) - 1)


def datasets(card: ModelCard) -> list[int]:
    """The registered datasets that the model was trained on."""
    return [weight.dataset for weight in card.weights if weight.dataset != OWN]


def weights_tree(card: ModelCard) -> WeightsTree:
    """The tree of the card's weights, for proofs."""
    return WeightsTree(_pairs(card))


def _pairs(card: ModelCard) -> list[weights.Pair]:
    return [(weight.dataset, weight.weight_ppm) for weight in card.weights]


def _check_weights(card: ModelCard) -> None:
    for weight in card.weights:
        parse_address(weight.address)
    weights.check(_pairs(card))
    if weights_tree(card).root != card.weights_root:
        raise RuleBroken("the weights do not give the card's root")
