"""Every setting of a node: frozen, typed, with the reason beside each default.

The reasons are data (`reason(section, key)`): `schwung init` writes them into the config file, `make docs` into the
reference.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_type_hints

import msgspec
from msgspec import Meta

from config.amounts import Wei, parse_amount
from config.profile import Profile

Level = Literal["debug", "info", "warning", "error", "critical"]


def why(reason: str, *, ge: int | None = None, le: int | None = None) -> Meta:
    """The reason for a default, with its range."""
    return Meta(description=reason, ge=ge, le=le)


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """Whom we listen to and talk with."""

    listen: Annotated[tuple[str, ...], why("one fixed TCP port, so that peers find us again after a restart")] = (
        "/ip4/0.0.0.0/tcp/4780",
    )
    announce: Annotated[
        tuple[str, ...], why("empty: announce what we listen on; set it behind a NAT with a mapping")
    ] = ()
    bootstrap: Annotated[tuple[str, ...], why("further first contacts, beside those of the network file")] = ()
    private_key: Annotated[
        str, why("empty: an open network; else a file with the swarm key (go-ipfs' format) that all members have")
    ] = ""
    reachability: Annotated[
        Literal["auto", "public", "private"], why("auto: peers dial us back to find out; private: always use relays")
    ] = "auto"
    use_relays: Annotated[
        bool, why("a node behind a NAT is reached through two of its peers, which see no plaintext")
    ] = True
    relay_service: Annotated[
        bool, why("lend the same to others while we can be dialled: without it nodes behind a NAT sell nothing")
    ] = True
    relay_reservations: Annotated[int, why("peers to lend it to; one costs an open connection", ge=1, le=10_000)] = 32
    relay_circuits: Annotated[
        int, why("connections through us at a time; each may hold 512 KiB on its way", ge=1, le=10_000)
    ] = 64
    relay_circuit_bytes: Annotated[
        int, why("of one connection, each way; a payload beyond it goes on over a new one", ge=1 << 16, le=1 << 40)
    ] = 128 << 20
    relay_circuit_s: Annotated[
        int, why("of one connection; who needs longer asks again, and others get their turn", ge=60, le=604_800)
    ] = 3_600
    relay_bytes_per_s: Annotated[
        int, why("of all connections together: a third of a line of 100 Mbit/s", ge=1 << 10, le=1 << 40)
    ] = 4 << 20
    dht: Annotated[
        bool, why("who looks for a payload finds whoever has it; off: nobody is told what we have, and we ask nobody")
    ] = True
    max_peers: Annotated[int, why("gossip needs about 8; beyond 64 only memory grows", ge=1, le=1000)] = 64
    max_per_address: Annotated[
        int, why("connections from one IPv4 address or IPv6 /64: a household, not a farm of names", ge=1, le=1000)
    ] = 8
    local_leniency: Annotated[
        int, why("times as many from loopback and private addresses, which many honest nodes share", ge=1, le=1000)
    ] = 32


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """How we read and write the chain."""

    rpc: Annotated[tuple[str, ...], why("empty: the network file's endpoints; set it for your own chain node")] = ()
    max_fee_gwei: Annotated[
        int, why("a transaction above it waits: fee spikes pass within hours", ge=1, le=1_000_000)
    ] = 200
    confirmations: Annotated[
        int, why("blocks on top before money counts; 1 is right for a chain without reorganisations", ge=0, le=100)
    ] = 1
    poll_ms: Annotated[int, why("how often we look for a new block: an L2 makes one in 1 to 2 s", ge=50, le=60_000)] = (
        1_000
    )
    timeout_s: Annotated[
        int, why("one call to the endpoint; public ones answer in well under a second", ge=1, le=300)
    ] = 15


class Wallet(msgspec.Struct, frozen=True, kw_only=True):
    """Money, and how much of it a node may spend by itself."""

    passphrase_file: Annotated[str, why("empty: the wallet stays locked until `wallet.unlock`")] = ""
    max_spend_wei: Annotated[Wei, why("what the node spends in one day without being asked again")] = parse_amount(
        "1000tok"
    )
    soft_limit_wei: Annotated[
        Wei, why("what a caller may owe within his deposit before we settle: he may spend it elsewhere meanwhile")
    ] = parse_amount("10tok")
    credit_wei: Annotated[
        Wei, why("what a caller who has settled before may owe beyond his deposit: one unit, the most we can lose")
    ] = parse_amount("0.01tok")
    settle_above_wei: Annotated[Wei, why("about 20 times the gas of one voucher in a batch on an L2")] = parse_amount(
        "1tok"
    )
    settle_gas_multiple: Annotated[
        int, why("settle what is worth this many times its gas; read when coin_price_wei is set", ge=1, le=10_000)
    ] = 20
    coin_price_wei: Annotated[
        Wei, why("tokens that one coin of gas is worth; 0: unknown, settle_above_wei alone decides")
    ] = parse_amount("0")
    settle_every_s: Annotated[
        int, why("vouchers that stay small are settled this often all the same", ge=1, le=604_800)
    ] = 3_600
    session_ttl_s: Annotated[int, why("how long the hot voucher key is authorised on chain", ge=60, le=31_536_000)] = (
        604_800
    )
    session_cap_wei: Annotated[Wei, why("what a stolen voucher key could spend at most")] = parse_amount("100tok")
    scrypt_log2: Annotated[
        int, why("Web3 Secret Storage's 2^18: about 1 s for us, too slow for guessing", ge=10, le=20)
    ] = 18


class Ipfs(msgspec.Struct, frozen=True, kw_only=True):
    """Where ciphertext lies."""

    mode: Annotated[Literal["embedded", "rpc"], why("embedded: our own host serves Bitswap, nothing to install")] = (
        "embedded"
    )
    api: Annotated[str, why("the usual RPC address of an IPFS daemon; used in mode rpc only")] = (
        "/ip4/127.0.0.1/tcp/5001"
    )
    peers: Annotated[
        tuple[str, ...],
        why("IPFS nodes to stay connected with: they tell other IPFS nodes what we have; mode embedded only"),
    ] = ()
    serve_bought_bytes: Annotated[
        int,
        why(
            "room, of the quota, to keep bought payloads for other buyers; 0: serving them tells what one has bought",
            ge=0,
        ),
    ] = 0
    quota_bytes: Annotated[
        int, why("room for what is bought and sold; beyond it goes what no pin keeps; mode embedded only", ge=1 << 20)
    ] = 20 << 30


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """How text becomes a vector."""

    model_dir: Annotated[
        str, why("empty: the default embedder (multilingual-e5-small); any folder in Hugging Face layout")
    ] = ""
    threads: Annotated[int, why("two leave cores for the loop and the trainer on a laptop", ge=1, le=256)] = 2
    max_tokens: Annotated[
        int, why("cost grows with length; 256 find nothing that 128 do not: see tests/bench/embed.py", ge=16, le=8_192)
    ] = 128
    batch_tokens: Annotated[int, why("how long others wait for a thread: half a second of work", ge=64, le=262_144)] = (
        512
    )


class Collect(msgspec.Struct, frozen=True, kw_only=True):
    """What comes in."""

    max_file_bytes: Annotated[int, why("a text of 64 MiB is a database dump, not a document", ge=1)] = 64 << 20
    max_items: Annotated[int, why("items of one source at a time; more is a job for several sources", ge=1)] = 1_000_000
    default_licence: Annotated[str, why("the licence of a source that names none: use by the buyer, no resale")] = (
        "schwung-use-1"
    )


class Refine(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes a record."""

    min_chars: Annotated[
        int, why("shorter texts carry no meaning that an embedder could tell apart", ge=1, le=10_000)
    ] = 20
    max_chars: Annotated[int, why("a record is sold and shown whole; 16 cells of 4 KiB", ge=100, le=1_000_000)] = 65_536
    near_duplicate_ppm: Annotated[
        int, why("Jaccard similarity of shingles from which two texts are one", ge=500_000, le=1_000_000)
    ] = 850_000
    redact: Annotated[bool, why("personal data never leaves by accident; switch off only for texts without any")] = True


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """Offers, demands, deals."""

    open_sales: Annotated[
        int, why("sales that the bond covers at once: a dataset rarely has more buyers in one hour", ge=1, le=1000)
    ] = 4
    offer_ttl_s: Annotated[
        int, why("a seller that is gone should not be found for long; live ones renew", ge=60, le=31_536_000)
    ] = 604_800
    demand_ttl_s: Annotated[int, why("a want that is older has mostly been met elsewhere", ge=60, le=31_536_000)] = (
        604_800
    )
    demand_epsilon: Annotated[
        float,
        why(
            "noise on published wants: at most e^(epsilon · distance) tells two apart; 1000 is mild; 0 adds none", ge=0
        ),
    ] = 0.0
    search_price_wei: Annotated[
        Wei, why("a preview of a record, to peers who search here; found for nothing sells more than a fee earns")
    ] = Wei(0)
    outline_records: Annotated[
        int,
        why(
            "what an outline shows of an offer's records stands for so many at least: fewer are found more surely, "
            "and told apart more easily; 0 shows no outlines",
            ge=0,
            le=100_000,
        ),
    ] = 16


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """How data changes hands."""

    confirm_wait_s: Annotated[
        int, why("a buyer's signed confirmation waits for company: a batch shares its gas", ge=0, le=86_400)
    ] = 600
    confirm_batch: Annotated[int, why("confirmations a transaction: about 2 million gas", ge=1, le=256)] = 64
    max_disputes_lost: Annotated[
        int, why("an honest seller loses none; one may be a broken disk, two are a habit", ge=0, le=1_000_000)
    ] = 1


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """Training and serving."""

    threads: Annotated[int, why("training takes the other cores; serving shares the embedder's", ge=1, le=256)] = 2
    held_out_ppm: Annotated[
        int, why("a fifth for evaluation: ± 3 % at some hundred records", ge=10_000, le=500_000)
    ] = 200_000
    publisher_bps: Annotated[
        int, why("the builder's share of the revenue; the rest goes to whose data trained the model", ge=0, le=9_000)
    ] = 4_000
    price_wei: Annotated[Wei, why("one unit of inference, when `models.publish` names none")] = parse_amount("0.001tok")
    child_bps: Annotated[
        int, why("asked of models made from ours: as much as a typical resale margin", ge=0, le=5_000)
    ] = 1_000
    own_data_ppm: Annotated[
        int,
        why(
            "the most own unregistered records take beside datasets of others: the contract's own limit",
            ge=0,
            le=500_000,
        ),
    ] = 500_000
    low_weight_ppm: Annotated[
        int,
        why(
            "a warning when own data weighs less than this of its share by facts; the contract's floor is a quarter",
            ge=0,
            le=1_000_000,
        ),
    ] = 500_000


class Rewards(msgspec.Struct, frozen=True, kw_only=True):
    """Rewards for rating models, an epoch at a time."""

    watch: Annotated[bool, why("one honest node that looks is enough; a false proposal pays its finder")] = True
    distribute: Annotated[bool, why("proposing binds a stake and costs gas: a service that somebody must want")] = False
    least_wei: Annotated[Wei, why("a proposal of less is not worth its gas on an L2")] = parse_amount("0.001tok")


class Console(msgspec.Struct, frozen=True, kw_only=True):
    """The web console and the OpenAI-compatible endpoint, on 127.0.0.1 only."""

    enabled: Annotated[bool, why("it is how most people look at a node; it needs a token")] = True
    port: Annotated[int, why("fixed, so that bookmarks last; 0 takes a free one", ge=0, le=65_535)] = 4781


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged."""

    level: Annotated[Level, why("info is what an operator expects to see: changes of state")] = "info"
    areas: Annotated[dict[str, Level], why('levels of single areas: areas = { "node.market" = "debug" }')] = {}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a node, and the facts of the network it has joined."""

    profile: Profile
    network: Network = Network()
    chain: Chain = Chain()
    wallet: Wallet = Wallet()
    ipfs: Ipfs = Ipfs()
    embedding: Embedding = Embedding()
    collect: Collect = Collect()
    refine: Refine = Refine()
    market: Market = Market()
    exchange: Exchange = Exchange()
    models: Models = Models()
    rewards: Rewards = Rewards()
    console: Console = Console()
    log: Log = Log()


SECTIONS: dict[str, type[msgspec.Struct]] = {
    name: kind for name, kind in get_type_hints(Settings).items() if name != "profile"
}


def reason(section: str, key: str) -> str:
    """Why the default is what it is."""
    hint = get_type_hints(SECTIONS[section], include_extras=True)[key]
    return str(hint.__metadata__[0].description)
