"""What is carried and kept: network, blocks, embedder, shard."""

from __future__ import annotations

from contextlib import AsyncExitStack
from importlib.metadata import version

import msgspec

from config.loader import Loaded
from config.settings import Network as NetworkSettings
from config.settings import Settings
from node.blocks import Blocks, open_embedded, open_rpc
from node.embed import Embedder, EmbedderOptions, open_embedder
from node.journal.bans import Bans
from node.journal.peers import Peers
from node.layers.base import Base
from node.network import Network, NetworkOptions, open_network
from node.network.options import RelayLimits
from node.network.private import read_key
from node.observe.events import EventBus
from node.shard import Shard, open_shard


class Carriage(msgspec.Struct, frozen=True, kw_only=True):
    """What is carried and kept: network, blocks, embedder, shard."""

    network: Network
    blocks: Blocks
    embedder: Embedder
    shard: Shard


async def open_carriage(stack: AsyncExitStack, base: Base, embedder: Embedder | None) -> Carriage:
    """Network, blocks, embedder, shard."""
    settings, paths = base.settings, base.paths
    if embedder is None:
        embedder = await open_embedder(embedder_options(settings))
    shard = await stack.enter_async_context(open_shard(paths.shard, embedder.model_id, embedder.dim))
    options = network_options(base.loaded)
    network = await stack.enter_async_context(
        open_network(
            options,
            base.seed,
            memory=Peers(base.journal),
            bans=Bans(base.journal),
            on_event=lambda topic, data: _publish(base.events, topic, data),
        )
    )
    if settings.ipfs.mode == "rpc":
        blocks: Blocks = await stack.enter_async_context(open_rpc(settings.ipfs.api))
    else:
        blocks = await stack.enter_async_context(
            open_embedded(
                paths.blocks,
                network,
                quota_bytes=settings.ipfs.quota_bytes,
                share_bytes=settings.ipfs.serve_bought_bytes,
            )
        )
    return Carriage(network=network, blocks=blocks, embedder=embedder, shard=shard)


def network_options(loaded: Loaded) -> NetworkOptions:
    """The network's settings as its service takes them."""
    profile, chosen = loaded.settings.profile, loaded.settings.network
    return NetworkOptions(
        network_id=profile.network_id,
        chain_id=profile.chain.id,
        listen=chosen.listen,
        announce=chosen.announce,
        bootstrap=(*profile.bootstrap, *chosen.bootstrap),
        private_key=read_key(chosen.private_key),
        relay=_relay_limits(chosen) if chosen.relay_service else None,
        use_relays=chosen.use_relays,
        reachability=chosen.reachability,
        max_connections=chosen.max_peers,
        max_per_address=chosen.max_per_address,
        local_leniency=chosen.local_leniency,
        dht=chosen.dht,
        ipfs_peers=loaded.settings.ipfs.peers if loaded.settings.ipfs.mode == "embedded" else (),
        version=version("schwung"),
    )


def _relay_limits(chosen: NetworkSettings) -> RelayLimits:
    return RelayLimits(
        reservations=chosen.relay_reservations,
        circuits=chosen.relay_circuits,
        circuit_bytes=chosen.relay_circuit_bytes,
        circuit_s=chosen.relay_circuit_s,
        bytes_per_s=chosen.relay_bytes_per_s,
    )


def embedder_options(settings: Settings) -> EmbedderOptions:
    """The embedder's settings as it takes them."""
    chosen = settings.embedding
    return EmbedderOptions(
        model_dir=chosen.model_dir or None,
        threads=chosen.threads,
        max_tokens=chosen.max_tokens,
        token_budget=chosen.batch_tokens,
    )


def _publish(events: EventBus, topic: str, data: dict[str, object]) -> None:
    events.publish("peers", {"event": topic, **data})
