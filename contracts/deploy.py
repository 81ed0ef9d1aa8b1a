"""Deploy the suite with web3.py, synchronously: for the devnet, for tests, and for an operator's testnet.

The oracle obeys one reporter, the RewardPool, and the pool names the oracle; the stake vault obeys the registry of
models and the pool, which name the vault. All are immutable, so addresses are computed from the deployer's nonce
beforehand. Nothing is wired by a setter afterwards.

DeployError: the chain refused; the message says which contract and why
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_hash.auto import keccak
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception
from web3.types import Nonce

from contracts.artifact import load
from contracts.params import DEPLOYER, Deployment, DeployParams, text32

__all__ = ["DeployError", "DeployParams", "Deployment", "deploy"]

WAD_PER_PPM = 10**12
RECEIPT_TIMEOUT_S = 120
REQUEST_TIMEOUT_S = 30


class DeployError(Exception):
    """A contract could not be deployed or set up."""


def create_address(sender: str, nonce: int) -> ChecksumAddress:
    """Where `sender`'s transaction with this nonce will put a contract: keccak(rlp([sender, nonce]))[12:]."""
    raw = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    encoded = raw if len(raw) == 1 and raw[0] < 0x80 else bytes([0x80 + len(raw)]) + raw
    body = b"\x94" + bytes.fromhex(sender[2:]) + encoded
    return to_checksum_address(keccak(bytes([0xC0 + len(body)]) + body)[12:])


class Deployer:
    """One account on one chain: signs, sends, waits, and keeps count of the gas."""

    def __init__(self, web3: Web3, account: LocalAccount) -> None:
        self.web3 = web3
        self.account = account
        self.nonce = web3.eth.get_transaction_count(account.address, "pending")
        self.gas: dict[str, int] = {}
        self.first_block = 0

    def create(self, name: str, *args: Any) -> ChecksumAddress:
        """Deploy artifact `name`; its address. Raises DeployError."""
        artifact = load(name)
        factory = self.web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        expected = create_address(self.account.address, self.nonce)
        self.send(name, factory.constructor(*args))
        return expected

    def call(self, name: str, address: ChecksumAddress, function: str, args: Sequence[Any]) -> None:
        """One transaction to a deployed contract. Raises DeployError."""
        contract = self.web3.eth.contract(address=address, abi=load(name).abi)
        self.send(f"{name}.{function}", getattr(contract.functions, function)(*args))

    def send(self, label: str, action: Any) -> None:
        try:
            unsigned = action.build_transaction(
                {"from": self.account.address, "nonce": self.nonce, "chainId": self.web3.eth.chain_id}
            )
            signed = self.account.sign_transaction(unsigned)
            receipt = self.web3.eth.wait_for_transaction_receipt(
                self.web3.eth.send_raw_transaction(signed.raw_transaction), timeout=RECEIPT_TIMEOUT_S
            )
        except (Web3Exception, OSError, ValueError) as err:
            raise DeployError(f"{label} failed: {err}") from err
        if receipt["status"] != 1:
            raise DeployError(f"{label} failed: the transaction was reverted")
        self.nonce = Nonce(self.nonce + 1)
        self.gas[label] = self.gas.get(label, 0) + receipt["gasUsed"]
        self.first_block = self.first_block or receipt["blockNumber"]


def deploy(rpc_url: str, private_key: str, params: DeployParams) -> Deployment:
    """All contracts, prices set, the pool funded; the deployer holds the other tokens. Raises DeployError."""
    web3 = Web3(HTTPProvider(rpc_url, request_kwargs={"timeout": REQUEST_TIMEOUT_S}))
    account: LocalAccount = Account.from_key(private_key)
    try:
        chain_id = web3.eth.chain_id
        deployer = Deployer(web3, account)
    except (Web3Exception, OSError) as err:
        raise DeployError(f"no chain answers at {rpc_url}: {err}") from err
    addresses = _create_all(deployer, params)
    _set_prices(deployer, addresses["oracle"], params)
    if params.reward_grant_wei:
        _fund(deployer, addresses, params.reward_grant_wei)
    return Deployment(chain_id, deployer.first_block, dict(addresses), deployer.gas)


def _create_all(deployer: Deployer, params: DeployParams) -> dict[str, ChecksumAddress]:
    admin = deployer.account.address
    guardian = to_checksum_address(params.guardian)
    token = deployer.create("SchwungToken", admin, params.supply_wei)
    registry = deployer.create("DataRegistry")
    bank = deployer.create("VoucherBank", token, params.exit_delay_s, guardian)
    windows = (params.deliver_window_s, params.dispute_window_s)
    holdback = (params.holdback_bps, params.feedback_window_s)
    sale = deployer.create(
        "KeySale", token, registry, *windows, params.min_bond_wei, params.fee_bps, guardian, *holdback
    )
    # In this order: vault, models, oracle, rewards.
    slashers = [create_address(admin, deployer.nonce + 1), create_address(admin, deployer.nonce + 3)]
    stakes = deployer.create("StakeVault", token, params.unbonding_delay_s, slashers)
    models = deployer.create("ModelRegistry", token, bank, registry, stakes, _model_rules(admin, params), guardian)
    reporter = create_address(admin, deployer.nonce + 1)
    terms = (params.default_base_wei, params.epoch_length_s, params.clamp_ppm)
    oracle = deployer.create("PriceOracle", registry, reporter, admin, *terms)
    rewards = deployer.create("RewardPool", token, sale, bank, models, oracle, stakes, _reward_rules(params))
    reputation = deployer.create("Reputation", sale, bank, models)
    addresses = {
        "token": token,
        "registry": registry,
        "oracle": oracle,
        "sale": sale,
        "bank": bank,
        "models": models,
        "rewards": rewards,
        "stakes": stakes,
        "reputation": reputation,
    }
    names = [text32(name) for name in addresses]
    directory = deployer.create("Directory", admin, params.directory_delay_s, names, list(addresses.values()))
    return addresses | {"directory": directory}


def _model_rules(admin: str, params: DeployParams) -> tuple[Any, ...]:
    """`ModelTypes.Rules`."""
    arbiter = to_checksum_address(admin if params.arbiter == DEPLOYER else params.arbiter)
    windows = (params.challenge_window_s, params.ruling_window_s)
    return (*windows, params.challenge_stake_wei, params.fee_bps, arbiter)


def _reward_rules(params: DeployParams) -> tuple[int, ...]:
    """`RewardTypes.Rules`."""
    shares = (params.alpha_ppm, params.beta_ppm)
    return (*shares, params.proposer_stake_wei, params.reward_epoch_s, params.reward_challenge_window_s)


def _set_prices(deployer: Deployer, oracle: ChecksumAddress, params: DeployParams) -> None:
    for domain, base_wei in sorted(params.base_wei.items()):
        deployer.call("PriceOracle", oracle, "setBase", (text32(domain), base_wei))
    for licence, ppm in sorted(params.licence_factors_ppm.items()):
        deployer.call("PriceOracle", oracle, "setLicenceFactor", (text32(licence), ppm * WAD_PER_PPM))


def _fund(deployer: Deployer, addresses: dict[str, ChecksumAddress], grant_wei: int) -> None:
    deployer.call("SchwungToken", addresses["token"], "approve", (addresses["rewards"], grant_wei))
    deployer.call("RewardPool", addresses["rewards"], "fund", (grant_wei,))
