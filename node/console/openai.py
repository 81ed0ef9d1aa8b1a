"""The OpenAI dialect: embeddings and the list of models. The node chooses the provider, pays by voucher, answers.

    POST /v1/embeddings   {"model": id or title, "input": text or texts, "encoding_format"?, "input_type"?}
    GET  /v1/models       what can be called; GET /v1/models/{model} one of them

Beside the dialect: `input_type` is "query" (the default) or "document", as retrieval models have two sides; the
answer carries `schwung` with what was paid, to whom, and the receipts. `usage` estimates tokens as UTF-8 bytes / 4:
what is billed is inputs.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec
import numpy as np
import trio
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.console.errors import SERVER, Refused, bad, refusal
from node.console.guard import body
from node.models.calling import MAX_TEXTS, Answer
from protocols.inference.card import RETRIEVAL, ModelCard

DEADLINE_S = 120.0  # a call gives up on its provider earlier
BYTES_PER_TOKEN = 4


class Models(Protocol):
    """What the endpoint needs of the models' room."""

    async def card(self, model: str) -> ModelCard: ...
    async def cards(self) -> Sequence[ModelCard]: ...
    async def ask(self, model: str, inputs: Sequence[str], *, side: str) -> Answer: ...


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """Fields of the dialect that mean nothing here (`user`) are ignored, as its clients send them."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    input: Annotated[str, Meta(min_length=1)] | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: Literal["query", "document"] = "query"


def routes(models: Models) -> list[Route]:
    """The endpoints."""

    async def embeddings(request: Request) -> Response:
        asked = parse(await body(request))
        card = await models.card(asked.model)
        check(asked, card)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        with trio.fail_after(DEADLINE_S):
            answer = await models.ask(card.model, texts, side=asked.input_type)
        return JSONResponse(shown(answer, texts, asked))

    async def listed(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [entry(card) for card in await models.cards()]})

    async def one(request: Request) -> Response:
        return JSONResponse(entry(await models.card(request.path_params["model"])))

    async def chat(request: Request) -> Response:
        raise Refused(501, "no chat model is served yet; /v1/embeddings is", type=SERVER, code="unsupported")

    return [
        Route("/v1/embeddings", answering(embeddings), methods=["POST"]),
        Route("/v1/models", answering(listed), methods=["GET"]),
        Route("/v1/models/{model}", answering(one), methods=["GET"]),
        Route("/v1/chat/completions", answering(chat), methods=["POST"]),
    ]


def answering(handler: Any) -> Any:
    """The border: whatever goes wrong in a handler becomes an answer in OpenAI's shape."""

    async def run(request: Request) -> Response:
        try:
            answer: Response = await handler(request)
        except trio.TooSlowError:
            late = Refused(504, f"no answer within {DEADLINE_S:g} s", type=SERVER, code="timeout")
            return JSONResponse(late.body, late.status)
        except Exception as err:
            refused = refusal(err)
            return JSONResponse(refused.body, refused.status)
        return answer

    return run


def parse(raw: bytes) -> EmbeddingsRequest:
    """Raises Refused (400) with the field at fault."""
    try:
        return msgspec.json.decode(raw, type=EmbeddingsRequest)
    except msgspec.ValidationError as err:
        words = str(err)
        field = words.partition("`$.")[2].partition("`")[0].partition("[")[0] or None
        if field == "input":
            words += "; input is a text or a list of texts, arrays of tokens are not taken"
        raise bad(words, field) from err
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as err:
        raise bad(f"the body is not JSON: {err}") from err


def check(asked: EmbeddingsRequest, card: ModelCard) -> None:
    """What can be refused before anything is paid. Raises Refused."""
    if card.task != RETRIEVAL:
        raise bad(f"{card.title!r} is a model for {card.task}, it gives no embeddings: use models.call", "model")
    if not isinstance(asked.input, str) and len(asked.input) > MAX_TEXTS:
        raise bad(f"{len(asked.input)} inputs, the limit is {MAX_TEXTS}", "input")
    if asked.dimensions not in (None, card.dim):
        raise bad(f"this model has {card.dim} dimensions; they cannot be cut", "dimensions")


def shown(answer: Answer, texts: Sequence[str], asked: EmbeddingsRequest) -> dict[str, Any]:
    """An answer in the dialect."""
    tokens = sum(-(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN) for text in texts)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": spelled(row, asked.encoding_format)}
            for index, row in enumerate(answer.outputs)
        ],
        "model": asked.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "schwung": {
            "model": answer.model,
            "provider": answer.provider,
            "inputs": len(texts),
            "paid_wei": str(answer.paid_wei),
            "receipts": list(answer.receipts),
        },
    }


def spelled(row: np.ndarray, encoding: str) -> list[float] | str:
    """One vector as numbers, or as base64 of little-endian float32, as OpenAI's client asks for."""
    if encoding == "base64":
        return base64.b64encode(np.ascontiguousarray(row, dtype="<f4").tobytes()).decode()
    return [float(value) for value in row]


def entry(card: ModelCard) -> dict[str, Any]:
    """A model in the list."""
    return {
        "id": card.model,
        "object": "model",
        "created": card.created_at,
        "owned_by": card.domain,
        "schwung": {
            "title": card.title,
            "domain": card.domain,
            "task": card.task,
            "dimensions": card.dim if card.task == RETRIEVAL else None,
            "classes": card.classes,
            "price_wei": card.price_wei,
            "metric": card.claim.metric,
            "before_ppm": card.claim.before,
            "after_ppm": card.claim.after,
            "held_out": card.claim.held_out,
        },
    }
