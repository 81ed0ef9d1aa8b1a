"""What a deployment is made with, and what it yields: plain values, so that a network file can hold them."""

from __future__ import annotations

import msgspec

TOKEN = 10**18
PPM = 1_000_000
ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"
DEPLOYER = "deployer"

# Default base: a hundredth of a token a record, so that a dataset of some hundred records costs a few tokens.
DEFAULT_BASE_WEI = TOKEN // 100


class DeployParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Constructor arguments of the suite. All are immutable on chain except base prices and licence factors."""

    supply_wei: int = 1_000_000_000 * TOKEN  # below 2^96 - 1, about 7.9e28
    deliver_window_s: int = 3600  # a seller daemon that restarts must make it
    dispute_window_s: int = 3600  # fetch, decrypt and check the largest payload, twice
    exit_delay_s: int = 3600  # payees look at the chain at least this often
    challenge_window_s: int = 0  # before a model's revenue may be claimed; 0 suits a devnet only: nobody can challenge
    ruling_window_s: int = 259_200  # three days for the arbiter; then the challenge lapses
    challenge_stake_wei: int = TOKEN  # the publisher's and the challenger's; half of the loser's is burnt
    arbiter: str = ZERO_ADDRESS  # rules on challenged weights; DEPLOYER names whoever deploys; zero: no challenges
    unbonding_delay_s: int = 604_800  # longer than any challenge with its ruling
    min_bond_wei: int = TOKEN
    fee_bps: int = 250
    holdback_bps: int = 2_000  # of every paid price, released after the feedback window; at most 5,000
    feedback_window_s: int = 86_400  # a buyer looks at what he bought within a day
    directory_delay_s: int = 172_800  # two days to look at a new contract before its name counts
    default_base_wei: int = DEFAULT_BASE_WEI
    base_wei: dict[str, int] = {}  # by domain, base units a record
    licence_factors_ppm: dict[str, int] = {}  # by licence; 1_000_000 is neutral
    epoch_length_s: int = 86_400
    clamp_ppm: int = 250_000  # demand moves at most by a quarter an epoch
    reward_grant_wei: int = 10_000_000 * TOKEN
    alpha_ppm: int = 800_000  # all rewards <= 0.8 of all fees burnt
    beta_ppm: int = 800_000  # one reward <= 0.8 of its own fee
    reward_epoch_s: int = 86_400  # between two proposals of lanes' rewards
    reward_challenge_window_s: int = 86_400  # a node that looks once a day sees a false line in time
    proposer_stake_wei: int = TOKEN
    guardian: str = ZERO_ADDRESS  # may stop entry; zero: nobody can


class Deployment(msgspec.Struct, frozen=True):
    """Addresses by short name (config.profile: CONTRACTS) and gas by transaction.

    `block` is the first block of the deployment: logs of the suite begin there.
    """

    chain_id: int
    block: int
    addresses: dict[str, str]
    gas: dict[str, int]


def text32(text: str) -> bytes:
    """A domain's or licence's name as the registry's bytes32: UTF-8, right-padded. Raises ValueError over 32 bytes."""
    raw = text.encode()
    if len(raw) > 32:
        raise ValueError(f"{text!r} has {len(raw)} bytes in UTF-8, a name on chain has at most 32")
    return raw.ljust(32, b"\0")
