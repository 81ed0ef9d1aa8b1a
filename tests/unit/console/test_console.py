from __future__ import annotations

import base64
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest
import trio

from node.console.errors import PortTaken, TokenExposed
from node.console.guard import MAX_BODY_BYTES
from node.console.server import Console, open_console
from node.console.token import load_token, matches
from node.models.calling import Answer
from node.models.errors import NoProvider, PaymentRequired, UnknownModel, WrongReceipt
from node.observe.health import Health, Unhealthy
from node.observe.metrics import Metrics
from node.wallet.errors import WalletLocked
from protocols.inference.card import ModelCard
from tests.support.cards import a_card

RETRIEVER = a_card()
CLASSIFIER = a_card(model="cd" * 32, title="Classes", task="classification", classes=["a", "b"])


class Shop:
    """Two models, answers that can be checked, and any error on demand."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], str]] = []
        self.trouble: Exception | None = None

    async def card(self, model: str) -> ModelCard:
        for card in await self.cards():
            if model in (card.model, card.title):
                return card
        raise UnknownModel(f"no provider of model {model!r} is known")

    async def cards(self) -> Sequence[ModelCard]:
        return [RETRIEVER, CLASSIFIER]

    async def ask(self, model: str, inputs: Sequence[str], *, side: str) -> Answer:
        self.asked.append((model, list(inputs), side))
        if self.trouble is not None:
            raise self.trouble
        outputs = np.array([[len(text), 0.5] for text in inputs], np.float32)
        return Answer(model, "retrieval", (), outputs, "12D3", 1_000 * len(inputs), ("00" * 16,))


class House:
    """A running console and a client of it."""

    def __init__(self, console: Console, shop: Shop, health: Health, client: httpx.AsyncClient) -> None:
        self.console = console
        self.shop = shop
        self.health = health
        self.client = client

    async def embed(self, **changes: object) -> httpx.Response:
        body = {"model": RETRIEVER.model, "input": "a warm coat"} | changes
        return await self.client.post("/v1/embeddings", json=body)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    shop, health = Shop(), Health()
    async with open_console(
        0, tmp_path / "console.token", models=shop, health=health, metrics=Metrics("1.2.3")
    ) as console:
        headers = {"Authorization": f"Bearer {console.token}"}
        async with httpx.AsyncClient(base_url=console.url, headers=headers, timeout=10) as client:
            yield House(console, shop, health, client)


def error(reply: httpx.Response) -> dict[str, object]:
    """The error in OpenAI's shape, whole."""
    found = reply.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


async def test_one_text_is_embedded(house: House):
    reply = await house.embed()
    assert reply.status_code == 200
    found = reply.json()
    assert found["data"] == [{"object": "embedding", "index": 0, "embedding": [11.0, 0.5]}]
    assert found["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert (found["object"], found["model"]) == ("list", RETRIEVER.model)
    assert found["schwung"] == {
        "model": RETRIEVER.model, "provider": "12D3", "inputs": 1, "paid_wei": "1000", "receipts": ["00" * 16],
    }  # fmt: skip
    assert house.shop.asked == [(RETRIEVER.model, ["a warm coat"], "query")]


async def test_several_texts_as_base64_by_title_as_documents(house: House):
    reply = await house.embed(
        model=RETRIEVER.title, input=["ab", "c"], encoding_format="base64", input_type="document", user="somebody"
    )
    vectors = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4").tolist() for row in reply.json()["data"]]
    assert vectors == [[2.0, 0.5], [1.0, 0.5]]
    assert house.shop.asked == [(RETRIEVER.model, ["ab", "c"], "document")]


async def test_models_are_listed_and_found(house: House):
    found = (await house.client.get("/v1/models")).json()
    assert [entry["id"] for entry in found["data"]] == [RETRIEVER.model, CLASSIFIER.model]
    one = (await house.client.get(f"/v1/models/{CLASSIFIER.model}")).json()
    assert one["schwung"]["classes"] == ["a", "b"]
    assert (await house.client.get("/v1/models/unknown")).status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"model": "x"}', None),
        (b'{"model": 1, "input": "x"}', "model"),
        (b'{"model": "x", "input": ""}', "input"),
        (b'{"model": "x", "input": []}', "input"),
        (b'{"model": "x", "input": [1, 2]}', "input"),
        (b'{"model": "x", "input": [""]}', "input"),
        (b'{"model": "x", "input": "y", "encoding_format": "hex"}', "encoding_format"),
        (b'{"model": "x", "input": "y", "input_type": "both"}', "input_type"),
        (b"[" * 100_000, None),
        (b"\xff\xfe", None),
    ],
)
async def test_a_body_that_makes_no_sense_is_a_bad_request(house: House, body: bytes, param: str | None):
    reply = await house.client.post("/v1/embeddings", content=body)
    assert reply.status_code == 400
    found = error(reply)
    assert (found["type"], found["param"]) == ("invalid_request_error", param)
    assert house.shop.asked == []


async def test_what_cannot_be_had_is_refused_before_it_is_paid(house: House):
    unknown = await house.embed(model="unknown")
    assert (unknown.status_code, error(unknown)["code"]) == (404, "model_not_found")
    assert (await house.embed(model=CLASSIFIER.model)).status_code == 400
    assert (await house.embed(dimensions=3)).status_code == 400
    assert (await house.embed(input=["x"] * 2_049)).status_code == 400
    assert house.shop.asked == []


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (PaymentRequired("too little", hint="deposit more"), 402, "payment_required"),
        (WalletLocked(), 402, "wallet_locked"),
        (NoProvider("gone"), 503, "no_provider"),
        (WrongReceipt("a lie"), 502, "wrong_receipt"),
        (trio.TooSlowError(), 504, "timeout"),
    ],
)
async def test_trouble_below_keeps_its_kind(house: House, trouble: Exception, status: int, code: str):
    house.shop.trouble = trouble
    reply = await house.embed()
    assert (reply.status_code, error(reply)["code"]) == (status, code)


async def test_a_bug_tells_nothing_but_an_incident(house: House):
    house.shop.trouble = ZeroDivisionError("the secret inside")
    reply = await house.embed()
    assert reply.status_code == 500
    assert "internal error" in str(error(reply)["message"])
    assert "secret" not in reply.text


async def test_without_the_token_nothing_but_the_probes_answers(house: House):
    async with httpx.AsyncClient(base_url=house.console.url) as stranger:
        assert (await stranger.get("/livez")).status_code == 200
        assert (await stranger.get("/readyz")).status_code == 200
        for path in ("/v1/models", "/metrics", "/nowhere"):
            reply = await stranger.get(path)
            assert (reply.status_code, error(reply)["code"]) == (401, "invalid_api_key")
            assert reply.headers["www-authenticate"] == "Bearer"
        wrong = await stranger.get("/v1/models", headers={"Authorization": "Bearer " + "x" * 43})
        assert wrong.status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:4781", ""])
async def test_another_host_name_is_refused(house: House, host: str):
    reply = await house.client.get("/v1/models", headers={"Host": host})
    assert reply.status_code in (400, 421)
    assert (await house.client.get("/v1/models", headers={"Host": "localhost:1"})).status_code == 200


async def test_pages_of_other_sites_are_refused(house: House):
    reply = await house.client.get("/v1/models", headers={"Origin": "https://evil.example"})
    assert (reply.status_code, error(reply)["code"]) == (403, "origin")
    own = await house.client.get("/v1/models", headers={"Origin": house.console.url})
    assert own.status_code == 200


async def test_a_body_over_the_limit_is_cut_off(house: House):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // (1 << 16) + 2):
            yield b" " * (1 << 16)

    reply = await house.client.post("/v1/embeddings", content=endless())
    assert (reply.status_code, error(reply)["code"]) == (413, "request_too_large")


async def test_unknown_paths_and_methods_answer_in_the_same_shape(house: House):
    missing = await house.client.get("/v2/anything")
    assert (missing.status_code, error(missing)["code"]) == (404, "not_found")
    assert error(await house.client.get("/v1/embeddings"))["code"] == "http"
    assert (await house.client.post("/v1/chat/completions", json={})).status_code == 501


async def test_readiness_follows_the_checks_and_metrics_are_prometheus(house: House):
    async def broken() -> str:
        raise Unhealthy("the chain is away")

    assert (await house.client.get("/readyz")).json() == {"ready": True, "failed": []}
    house.health.add("chain", broken)
    reply = await house.client.get("/readyz")
    assert (reply.status_code, reply.json()) == (503, {"ready": False, "failed": ["chain"]})
    assert "away" not in reply.text  # a probe without a token learns the name only
    assert 'schwung_build_info{version="1.2.3"} 1.0' in (await house.client.get("/metrics")).text


async def test_a_taken_port_says_so(house: House, tmp_path: Path):
    port = int(house.console.url.rpartition(":")[2])
    with pytest.raises(PortTaken, match=str(port)):
        async with open_console(port, tmp_path / "other.token", models=Shop(), health=Health(), metrics=Metrics("1")):
            pass


async def test_it_listens_on_loopback_and_stops(tmp_path: Path):
    async with open_console(0, tmp_path / "t", models=Shop(), health=Health(), metrics=Metrics("1")) as console:
        assert console.url.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="failed"):
        await trio.open_tcp_stream("127.0.0.1", int(console.url.rpartition(":")[2]))


def test_the_token_is_secret_and_stays(tmp_path: Path):
    path = tmp_path / "console.token"
    token = load_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_token(path) == token
    assert len(token) >= 43
    path.chmod(0o644)
    with pytest.raises(TokenExposed):
        load_token(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(TokenExposed, match="no token"):
        load_token(path)


def test_only_a_bearer_of_the_token_matches():
    assert matches("Bearer abc", "abc")
    assert matches("bearer abc", "abc")
    for header in ("", "abc", "Basic abc", "Bearer", "Bearer abcd", "Bearer äbc"):
        assert not matches(header, "abc")
