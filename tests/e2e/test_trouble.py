"""What goes wrong for everybody, through real processes: one sentence that says what to do, the right code, no loss.

Elsewhere, and not repeated here: unknown networks, settings and socket paths of `schwung run`, a second daemon
(tests/unit/daemon/test_run.py); a port in use, an endpoint that is gone, files and folders that cannot be read, wallets
that stay shut (tests/integration/test_daemon.py).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from node.devnet.processes import Processes
from protocols.catalog.messages import (
    ITEMS,
    MAX_REPLY_BYTES,
    MAX_TREE_BYTES,
    PROTOCOL,
    Items,
    ItemsRequest,
    TreeReply,
    TreeRequest,
)
from protocols.codec import decode, encode
from protocols.envelope import MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, Envelope, Item, open_item, sign_item
from protocols.ids import PeerId
from protocols.offers.offer import KIND, Offer
from tests.e2e.stall import BUYER, DOMAIN, SELLER, Stall
from tests.support.cluster import TOKEN, Cluster, Said, schwung, wait_for
from tests.support.items import CHAIN_ID, Purse
from tests.support.network import listening

if TYPE_CHECKING:
    from node.network import Network

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

LOTS = ["first", "second", "frozen", "forged"]
THIEF = Purse(4_711)


@pytest.fixture(scope="module")
def opened(cluster: Cluster) -> Stall:
    return Stall(cluster, LOTS, seed=1)


@pytest.fixture
def stall(opened: Stall) -> Stall:
    opened.whole()
    return opened


def sentence(said: Said) -> str:
    """The one sentence of a failed command; a hint may follow it on a line of its own."""
    assert "Traceback" not in said.err
    first, *hints = said.err.strip().splitlines()
    assert len(hints) <= 1, said.err
    return first


# --- before there is a node ---


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--network", "nowhere", "status"], 1, "unknown network 'nowhere': known are devnet, testnet"),
        (["--socket", "/" + "x" * 130, "status"], 1, "socket path is 131 bytes, the limit is 107: set --socket"),
        (["--datadir", "/nowhere", "--network", "devnet", "status"], 3, "no node"),
        (["offfers", "list"], 2, "unknown command 'offfers': did you mean 'offers'?"),
    ],
)
def test_a_command_that_reaches_no_node_says_why(words: list[str], code: int, expected: str) -> None:
    said = schwung(*words)
    assert said.code == code
    assert expected in sentence(said)


def test_a_devnet_without_anvil_says_how_to_get_it(tmp_path: Path) -> None:
    nowhere = {"PATH": str(tmp_path), "SCHWUNG_ANVIL": str(tmp_path / "anvil")}
    said = schwung("devnet", "up", "--dir", str(tmp_path / "net"), "--quiet", environ=nowhere)
    assert said.code == 1
    assert "anvil was not found: run `npm ci" in sentence(said)
    assert Processes(tmp_path / "net" / "processes.json").running() == {}


# --- a purchase that cannot be ---


def test_a_purchase_wants_an_open_wallet_and_then_money_and_then_settles(stall: Stall) -> None:
    cluster = stall.cluster
    poor = cluster.start("poor", funded=False, unlocked=False)
    poor.call("domains.follow", domain=DOMAIN)
    offer = stall.offers["first"]
    wait_for(lambda: offer["offer"] in {o["offer"] for o in poor.call("offers.list")["items"]}, "the offer")

    def buy() -> Said:
        return cluster.schwung("poor", "deals", "buy", offer["offer"], offer["price_wei"], "--json")

    said = buy()
    assert (said.code, said.json["error"]["data"]["kind"]) == (5, "wallet_locked")
    assert "unlock it: schwung wallet unlock" in said.err
    passphrase = str(cluster.devnet.places.passphrase)
    assert cluster.schwung("poor", "wallet", "unlock", "--passphrase-file", passphrase).code == 0
    said = buy()
    assert (said.code, said.json["error"]["data"]["kind"]) == (6, "insufficient_funds")
    address = poor.call("node.status")["address"]
    cluster.devnet.fund(address, native_wei=0, token_wei=100 * TOKEN)
    said = buy()  # tokens, and nothing to pay the gas with
    assert said.code != 0
    assert "native" in said.json["error"]["message"]
    assert cluster.balance("poor") == 100 * TOKEN
    cluster.devnet.fund(address, native_wei=TOKEN, token_wei=0)
    said = buy()
    assert (said.code, said.json["state"]) == (0, "settled")
    assert cluster.balance("poor") == 100 * TOKEN - int(offer["price_wei"])
    stall.assert_balanced()
    cluster.kill("poor")


def test_a_purchase_over_its_limit_is_refused(stall: Stall) -> None:
    said = stall.cluster.schwung(BUYER, "deals", "buy", stall.offers["first"]["offer"], "1")
    assert said.code == 5
    assert "deal refused: the price is" in sentence(said)


def test_a_good_file_beside_a_bad_one_is_kept(stall: Stall, tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("This dress was worn twice, washed once, and is for sale.")
    (tmp_path / "bad.txt").write_bytes("Größe 42, kaum getragen".encode("latin-1"))
    words = ["collect", "add", str(tmp_path), "--domain", "attic", "--licence", "CC0-1.0", "--json"]
    said = stall.cluster.schwung(BUYER, *words)
    assert said.code == 0, said.err
    result = said.json["result"]
    assert result["records"] == 1
    assert len(result["unreadable"]) == 1
    assert "bad.txt" in str(result["unreadable"])


def test_a_chain_that_hangs_in_a_deal_delays_it(stall: Stall) -> None:
    purse = stall.purse("frozen")
    chain = stall.cluster.devnet.processes.running()["chain"]
    with stall.buyer.events("deals") as steps:
        stall.buy("frozen")
        next(step for step in steps if step["data"]["state"] == "locking")
        os.kill(chain, signal.SIGSTOP)
        try:
            time.sleep(3)
            assert stall.buyer.call("node.status")["peer_id"]  # it still answers
        finally:
            os.kill(chain, signal.SIGCONT)
    stall.assert_paid("frozen", purse)


# --- offers that lie ---


def test_no_node_lists_an_offer_that_is_not_what_it_seems(stall: Stall) -> None:
    async def lie(network: Network, offers: dict[str, Item]) -> Item:
        item = offers["second"]
        genuine = decode(item.body, Offer, max_bytes=MAX_BODY_BYTES)
        own = signed(network, msgspec.structs.replace(genuine, title="mine, truly"))
        forged = {
            "changed afterwards": resealed(own, body=encode(msgspec.structs.replace(genuine, title="changed"))),
            "a broken signature": resealed(own, signature=bytes(64)),
            "another's name": resealed(own, signer=item.signer),
            "another's peer": signed(network, genuine, peer=item.peer).raw,
            "told by another than its author": resealed(item),
            "another network": signed(network, msgspec.structs.replace(genuine, network="elsewhere")).raw,
            "another chain": signed(network, msgspec.structs.replace(genuine, chain_id=1)).raw,
            "over": signed(network, msgspec.structs.replace(genuine, expires_at=genuine.created_at + 1)).raw,
            "no offer at all": b"\xc1" * 500,
        }
        for raw in [*forged.values(), own.raw]:
            await network.publish(topic(stall), raw)
        return own

    before = listed(stall)
    own = meet(stall, lie)
    for name, ids in listed(stall).items():
        assert ids - before[name] == {own.id}, name


def test_an_offer_with_a_foreign_root_is_refused_before_paying(stall: Stall) -> None:
    async def lie(network: Network, offers: dict[str, Item]) -> Item:
        genuine = decode(offers["forged"].body, Offer, max_bytes=MAX_BODY_BYTES)
        item = signed(network, msgspec.structs.replace(genuine, root=bytes(32), title="the same, but cheaper"))
        await network.publish(topic(stall), item.raw)
        return item

    stall.buy("forged")  # its bytes are here then, so that only the root can be wrong
    stall.until("forged", "settled")
    item = meet(stall, lie)
    before = stall.cluster.balance(BUYER)
    said = stall.cluster.schwung(BUYER, "deals", "buy", item.id, "1000tok")
    assert said.code == 5
    assert "the payload does not have the root that the offer names" in sentence(said)
    assert stall.cluster.balance(BUYER) == before


Lie = Callable[["Network", dict[str, Item]], Awaitable[Item]]


def meet(stall: Stall, lie: Lie) -> Item:
    """Be a peer of both traders, know the seller's offers by title, tell something; wait until both list the item."""

    async def run() -> Item:
        from node.network import NetworkOptions, open_network

        facts = stall.cluster.devnet.facts()
        options = NetworkOptions(network_id=facts["network_id"], chain_id=facts["chain"]["id"], target_peers=0)
        async with open_network(options, os.urandom(32)) as network:
            for node in (stall.seller, stall.buyer):
                status = node.call("node.status")
                await network.connect(f"{status['listen'][0].partition('/p2p/')[0]}/p2p/{status['peer_id']}")
            await network.subscribe(topic(stall), lambda _peer, _data: True)
            await listening(network, topic(stall), 2)
            item = await lie(network, await offers_of(network, stall.seller.call("node.status")["peer_id"]))
            with trio.fail_after(30):
                while not all(item.id in ids for ids in listed(stall).values()):
                    await trio.sleep(0.1)
            return item

    return trio.run(run)


async def offers_of(network: Network, peer: str) -> dict[str, Item]:
    """A peer's offers by title, read from its catalogue as any neighbour may."""
    request = encode(TreeRequest(domain=DOMAIN, prefixes=[""]))
    raw = await network.request(PeerId(peer), PROTOCOL, request, timeout_s=10, max_reply_bytes=MAX_TREE_BYTES)
    wanted = encode(ItemsRequest(ids=decode(raw, TreeReply, max_bytes=MAX_TREE_BYTES).nodes[0].ids))
    raw = await network.request(PeerId(peer), ITEMS, wanted, timeout_s=10, max_reply_bytes=MAX_REPLY_BYTES)
    page = decode(raw, Items, max_bytes=MAX_REPLY_BYTES)
    items = [open_item(envelope, chain_id=CHAIN_ID, author=None) for envelope in page.envelopes]
    return {decode(i.body, Offer, max_bytes=MAX_BODY_BYTES).title: i for i in items if i.kind == KIND}


def signed(network: Network, offer: Offer, peer: PeerId | None = None) -> Item:
    """An offer under the thief's own name."""
    return sign_item(
        KIND, encode(offer), peer=peer or network.peer_id, signer=THIEF.address, chain_id=CHAIN_ID, sign=THIEF.sign
    )


def resealed(item: Item, **changes: Any) -> bytes:
    """An item's envelope with something changed after it was signed."""
    return encode(msgspec.structs.replace(decode(item.raw, Envelope, max_bytes=MAX_ENVELOPE_BYTES), **changes))


def topic(stall: Stall) -> str:
    return f"/schwung/{stall.cluster.devnet.facts()['network_id']}/offers/{DOMAIN}"


def listed(stall: Stall) -> dict[str, set[str]]:
    """The offers that each node shows."""
    nodes = {SELLER: stall.seller, BUYER: stall.buyer}
    return {name: {o["offer"] for o in node.call("offers.list")["items"]} for name, node in nodes.items()}
