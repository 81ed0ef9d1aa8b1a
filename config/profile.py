"""A network as one file: what all its members share. `config/networks/*.toml`, or any path.

name = "testnet"
network_id = "schwung-testnet-1"
topic_prefix = "/schwung/testnet"
deployed_block = 123
bootstrap = ["/dns4/…/tcp/4780/p2p/12D3…"]
[chain]
id = 84532
rpc = ["https://…"]
[contracts]
token = "0x…"
[parameters]
fee_bps = 250
[settings.network]      # defaults that this network prefers
max_peers = 32
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from config.amounts import Wei, parse_amount

CONTRACTS = ("token", "registry", "oracle", "sale", "bank", "models", "rewards", "stakes", "reputation", "directory")


class ChainFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which chain it is."""

    id: Annotated[int, Meta(ge=0)] = 0
    rpc: tuple[str, ...] = ()


class Contracts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses of the deployed contracts; empty in a template. Those beside `directory` may be left to it."""

    token: str = ""
    registry: str = ""
    oracle: str = ""
    sale: str = ""
    bank: str = ""
    models: str = ""
    rewards: str = ""
    stakes: str = ""
    reputation: str = ""
    directory: str = ""


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the contracts were deployed with; the chain has the last word, this is for planning and for the devnet."""

    fee_bps: Annotated[int, Meta(ge=0, le=1_000)] = 250
    deliver_window_s: Annotated[int, Meta(ge=1)] = 3_600
    dispute_window_s: Annotated[int, Meta(ge=1)] = 3_600
    exit_delay_s: Annotated[int, Meta(ge=1)] = 86_400
    challenge_window_s: Annotated[int, Meta(ge=0)] = 3_600
    ruling_window_s: Annotated[int, Meta(ge=1)] = 259_200
    challenge_stake_wei: Wei = parse_amount("1tok")
    arbiter: Annotated[str, Meta(pattern="^(|deployer|0x[0-9a-fA-F]{40})\\Z")] = ""
    unbonding_delay_s: Annotated[int, Meta(ge=1)] = 604_800
    reward_epoch_s: Annotated[int, Meta(ge=1)] = 86_400
    reward_challenge_window_s: Annotated[int, Meta(ge=0)] = 86_400
    proposer_stake_wei: Wei = parse_amount("1tok")
    holdback_bps: Annotated[int, Meta(ge=0, le=5_000)] = 2_000
    feedback_window_s: Annotated[int, Meta(ge=1)] = 86_400
    directory_delay_s: Annotated[int, Meta(ge=0)] = 172_800
    min_bond_wei: Wei = parse_amount("0.01tok")


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts of one network."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]
    network_id: Annotated[str, Meta(min_length=1, max_length=64)]
    topic_prefix: Annotated[str, Meta(pattern="^/[a-z0-9/-]{1,62}$")]
    chain: ChainFacts = ChainFacts()
    contracts: Contracts = Contracts()
    deployed_block: Annotated[int, Meta(ge=0)] = 0
    bootstrap: tuple[str, ...] = ()
    parameters: Parameters = Parameters()
    settings: dict[str, dict[str, Any]] = {}

    def unfilled(self) -> list[str]:
        """The keys that a usable network must have and this file leaves empty. A directory stands for the others."""
        empty = [name for name in CONTRACTS if not getattr(self.contracts, name)]
        addresses = [f"contracts.{name}" for name in empty] if "directory" in empty else []
        chain = [key for key, value in (("chain.id", self.chain.id), ("chain.rpc", self.chain.rpc)) if not value]
        return chain + addresses
