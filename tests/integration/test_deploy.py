"""Deployment on a real anvil, and the books over a suite in use."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import coincurve
import pytest
from eth_hash.auto import keccak

from contracts import blocking, books
from contracts.anvil import Anvil, AnvilFailed, AnvilMissing, find_anvil, start_anvil
from contracts.blocking import RpcFailed
from contracts.deploy import DeployError, create_address, deploy
from contracts.params import DEPLOYER, TOKEN, DeployParams, text32
from protocols.exchange.handover import key_fault_evidence, mask_key, public_point
from protocols.ids import Address, checksum
from protocols.sealed.payload import parse, seal_cells
from protocols.voucher import sign_voucher, voucher_domain
from tests.support.suite import Refused, Suite

pytestmark = pytest.mark.chain
CK = sha256(b"content key").digest()
PRICE = 10 * TOKEN
needs_anvil = pytest.mark.skipif(find_anvil() is None, reason="no anvil: npm ci in contracts/")


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    with start_anvil() as running:
        yield running


@pytest.fixture
def suite(anvil: Anvil) -> Suite:
    return Suite(anvil, DeployParams(base_wei={"reviews": TOKEN}, licence_factors_ppm={"CC-BY-4.0": 1_500_000}))


def check(suite: Suite) -> books.Books:
    return books.audit(suite.anvil.rpc_url, suite.addresses, suite.deployment.block)


def slot_of_balance(who: str) -> str:
    """OpenZeppelin's ERC20 keeps `_balances` in slot 0."""
    return "0x" + keccak(bytes(12) + bytes.fromhex(who[2:]) + bytes(32)).hex()


def set_slot(suite: Suite, contract: str, slot: str, value: int) -> None:
    suite.anvil.call("anvil_setStorageAt", suite.addresses[contract], slot, "0x" + value.to_bytes(32, "big").hex())


# ---------------------------------------------------------------------------------------------------- deployment


@needs_anvil
def test_the_suite_is_wired_by_constructors_alone(suite: Suite) -> None:
    at = suite.addresses
    assert suite.view("oracle", "reporter") == at["rewards"]
    assert suite.view("rewards", "oracle") == at["oracle"]
    parts = ("token", "sale", "bank", "models", "stakes")
    assert [suite.view("rewards", name) for name in parts] == [at[name] for name in parts]
    assert suite.view("models", "stakes") == at["stakes"]
    assert [suite.view("stakes", "isSlasher", at[name]) for name in ("models", "rewards", "bank")] == [
        True,
        True,
        False,
    ]
    assert suite.view("models", "bank") == at["bank"]
    assert [suite.view("reputation", name) for name in ("sale", "bank", "models")] == [
        at[name] for name in ("sale", "bank", "models")
    ]
    named = {text32(name): address for name, address in at.items() if name != "directory"}
    assert {name: suite.view("directory", "lookup", name) for name in suite.view("directory", "names")} == named
    assert suite.view("sale", "registry") == at["registry"]
    assert suite.deployment.chain_id == suite.anvil.chain_id
    assert suite.deployment.block == 1
    assert set(suite.deployment.gas) >= {"KeySale", "RewardPool", "PriceOracle.setBase", "RewardPool.fund"}


@needs_anvil
def test_parameters_reach_the_chain(anvil: Anvil) -> None:
    params = DeployParams(
        supply_wei=5_000 * TOKEN,
        deliver_window_s=11,
        dispute_window_s=12,
        exit_delay_s=13,
        challenge_window_s=14,
        min_bond_wei=15,
        fee_bps=16,
        reward_grant_wei=17,
        alpha_ppm=18,
        beta_ppm=19,
        ruling_window_s=22,
        challenge_stake_wei=23,
        arbiter=DEPLOYER,
        unbonding_delay_s=24,
        reward_epoch_s=25,
        reward_challenge_window_s=26,
        proposer_stake_wei=27,
        holdback_bps=28,
        feedback_window_s=29,
        directory_delay_s=30,
        base_wei={"reviews": 21},
        licence_factors_ppm={"CC-BY-4.0": 2_000_000},
    )
    suite = Suite(anvil, params)
    assert suite.view("token", "totalSupply") == 5_000 * TOKEN
    assert suite.view("token", "balanceOf", suite.addresses["rewards"]) == 17
    assert [suite.view("sale", n) for n in ("deliverWindow", "disputeWindow", "minBond", "feeBps")] == [11, 12, 15, 16]
    assert [suite.view("sale", n) for n in ("holdbackBps", "feedbackWindow", "bondWindow")] == [28, 29, 29]
    assert suite.view("directory", "delay") == 30
    assert suite.view("directory", "owner").lower() == suite.admin.lower()
    assert suite.view("bank", "exitDelay") == 13
    rules = ("challengeWindow", "rulingWindow", "challengeStake", "feeBps")
    assert [suite.view("models", n) for n in rules] == [14, 22, 23, 16]
    assert suite.view("models", "arbiter").lower() == suite.admin.lower()
    assert suite.view("stakes", "unbondingDelay") == 24
    terms = ("alphaPpm", "betaPpm", "epochLength", "challengeWindow", "proposerStake", "laneFeeBps")
    assert [suite.view("rewards", n) for n in terms] == [18, 19, 25, 26, 27, 16]
    assert suite.view("oracle", "baseOf", text32("reviews")) == 21
    assert suite.view("oracle", "licenceFactorOf", text32("CC-BY-4.0")) == 2 * 10**18


@needs_anvil
def test_a_second_suite_on_the_same_chain(suite: Suite) -> None:
    second = deploy(suite.anvil.rpc_url, suite.anvil.keys[0], DeployParams())
    assert not set(second.addresses.values()) & set(suite.addresses.values())


def test_create_address_as_the_yellow_paper_has_it() -> None:
    deployer = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"
    assert create_address(deployer, 0).lower() == "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
    assert create_address(deployer, 1).lower() == "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"
    assert create_address(deployer, 0x80) != create_address(deployer, 0)


@needs_anvil
def test_what_a_constructor_refuses_is_said(anvil: Anvil) -> None:
    with pytest.raises(DeployError, match="KeySale"):
        deploy(anvil.rpc_url, anvil.keys[0], DeployParams(fee_bps=2_000))
    with pytest.raises(DeployError, match="SchwungToken"):
        deploy(anvil.rpc_url, anvil.keys[0], DeployParams(supply_wei=2**96))


def test_no_chain_is_said() -> None:
    with pytest.raises(DeployError, match="no chain answers"):
        deploy("http://127.0.0.1:9", "0x" + "11" * 32, DeployParams())
    with pytest.raises(RpcFailed, match="no chain answers"):
        books.audit("http://127.0.0.1:9", {}, 0)


def test_names_over_32_bytes_are_refused() -> None:
    assert text32("reviews") == b"reviews" + bytes(25)
    with pytest.raises(ValueError, match="at most 32"):
        text32("é" * 17)


# ---------------------------------------------------------------------------------------------------- anvil


def test_a_missing_anvil_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCHWUNG_ANVIL", str(tmp_path / "nothing"))
    assert find_anvil() is None
    with pytest.raises(AnvilMissing, match="npm ci"), start_anvil():
        pass


def test_a_taken_port_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AnvilFailed, match="in use"), start_anvil(port=taken.getsockname()[1]):
            pass


@needs_anvil
def test_no_anvil_outlives_a_killed_parent() -> None:
    script = (
        "import time; from contracts.anvil import start_anvil; "
        "anvil = start_anvil().start(); print(anvil.port, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert blocking.call(f"http://127.0.0.1:{port}", "eth_chainId") == hex(31_337)
        parent.kill()
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.05)
    pytest.fail(f"anvil still listens on port {port}")


@needs_anvil
def test_state_survives_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    with start_anvil(state=state) as anvil:
        suite = Suite(anvil, DeployParams())
        block = int(anvil.call("eth_blockNumber"), 16)
    with start_anvil(state=state) as anvil:
        assert int(anvil.call("eth_blockNumber"), 16) == block
        assert books.audit(anvil.rpc_url, suite.addresses, suite.deployment.block).balanced


# ---------------------------------------------------------------------------------------------------- the books


class Life:
    """Everything that moves money, once: a paid sale, an open one, a dispute, vouchers, a model, a rating."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.seller, self.buyer, self.other = suite.accounts[1:4]
        for who in (self.seller, self.buyer, self.other):
            suite.give(who, 10_000 * TOKEN, "sale", "bank", "models", "stakes")

    def live(self) -> None:
        self.sales()
        self.dispute()
        self.vouchers_and_model()

    def lock(self, offer: int, buyer: str, secret: int) -> int:
        bx, by = public_point(secret.to_bytes(32, "big"))
        return int(self.suite.send(buyer, "sale", "lock", offer, PRICE, bx, by)[0][1]["saleId"])

    def offer(self, root: bytes, cells: int) -> int:
        dataset = self.suite.register(self.seller, root, cells)
        events = self.suite.send(self.seller, "sale", "offer", dataset, PRICE, 5 * PRICE)
        return int(events[0][1]["offerId"])

    def sales(self) -> None:
        sealed = seal_cells([b"cell" * 10, b"more" * 9], CK)
        offer = self.offer(sealed.root, sealed.cells)
        before = self.suite.view("oracle", "quote", 1)
        paid, _open = self.lock(offer, self.buyer, 1), self.lock(offer, self.other, 2)
        self.suite.send(self.buyer, "sale", "confirm", paid)
        self.suite.send(self.buyer, "rewards", "rewardSale", paid, 5, bytes(32))
        assert self.suite.view("oracle", "quote", 1) > before

    def dispute(self) -> None:
        sealed = seal_cells([bytes([i]) * 50 for i in range(5)], CK)
        offer = self.offer(sealed.root, sealed.cells)
        paid = [self.lock(offer, self.other, secret) for secret in (4, 5)]
        for one in paid:
            self.suite.send(self.other, "sale", "confirm", one)
        sale, secret = self.lock(offer, self.buyer, 3), (3).to_bytes(32, "big")
        masked = mask_key(sha256(b"wrong").digest(), public_point(secret), sale, sha256(b"e").digest())
        self.suite.send(self.seller, "sale", "deliver", sale, masked.ex, masked.parity, masked.masked)
        evidence = key_fault_evidence(parse(sealed.payload), 4, secret, masked, sale)
        self.suite.send(self.buyer, "sale", "disputeKey", *evidence.arguments())
        self.suite.send(self.buyer, "sale", "withdraw")
        self.suite.send(self.other, "sale", "reclaim", paid[0])  # the second buyer's share waits for him

    def vouchers_and_model(self) -> None:
        suite, model = self.suite, sha256(b"model").digest()
        lane = int.from_bytes(model[-8:], "big")
        key = coincurve.PrivateKey(sha256(b"payer").digest())
        payer = checksum(keccak(key.public_key.format(compressed=False)[1:])[12:])
        suite.send(self.buyer, "bank", "deposit", payer, 100 * TOKEN)
        suite.send(self.buyer, "bank", "deposit", self.buyer, 50 * TOKEN)
        suite.send(self.buyer, "bank", "reserve", self.other, 3, 7 * TOKEN, suite.now() + 86_400)
        terms = (model, 2_000, 1, bytes(32), 0, 1_000)
        suite.send(self.seller, "models", "publish", terms, [0, 1], [400_000, 600_000], bytes(36))
        child = (sha256(b"child").digest(), 0, 1, model, 1_500, 0)
        suite.send(self.seller, "models", "publish", child, [0], [1_000_000], bytes(36))
        domain = voucher_domain(suite.anvil.chain_id, Address(suite.addresses["bank"]))
        for payee, contract, lead in ((suite.addresses["models"], "models", model), (self.other, "bank", self.other)):
            amount = 30 * TOKEN
            signature = sign_voucher(key, domain, Address(payer), Address(payee), lane, amount).signature
            items = [(payer, lane, amount, signature[:32], signature[32:])]
            tail = () if contract == "models" else (True,)
            suite.send(self.other, contract, "settle", lead, items, *tail)
        suite.send(self.seller, "models", "claimPublisher", model)
        suite.send(self.other, "models", "pay", child[0], 20 * TOKEN)
        suite.send(self.other, "models", "claimParent", child[0])
        suite.send(self.seller, "stakes", "stake", 3 * TOKEN)
        suite.send(self.seller, "stakes", "unbond", TOKEN)
        self.epoch(payer, model)

    def epoch(self, payer: str, model: bytes) -> None:
        """A proposal of which a part is claimed, its proposer's stake bound."""
        suite = self.suite
        fair = (payer, 600_000 * 10**12, 600_000 * 10**12, [(model, 30 * TOKEN)])  # 0.8 of 2.5 % of 30
        suite.send(self.seller, "rewards", "propose", [fair], bytes(32))
        assert suite.view("rewards", "promised") == fair[2]
        suite.pass_time(86_400)
        lines_hash = keccak(
            (32).to_bytes(32, "big") + (1).to_bytes(32, "big") + model + (30 * TOKEN).to_bytes(32, "big")
        )
        suite.send(self.other, "rewards", "claim", 1, (0, payer, fair[1], fair[2], lines_hash), [])
        assert suite.view("rewards", "credit", payer) == fair[2]


@needs_anvil
def test_books_of_a_suite_in_use_balance(suite: Suite) -> None:
    fresh = check(suite)
    assert fresh.balanced
    assert fresh.burnt_wei == 0
    Life(suite).live()
    found = check(suite)
    assert found.balanced, found
    assert found.solvent
    assert found.supply_wei == DeployParams().supply_wei
    assert found.sum_wei + found.burnt_wei == found.supply_wei
    assert found.burnt_wei > 0
    assert found.holders >= 7
    assert all(account.held_wei > 0 for account in found.per_contract.values())


@needs_anvil
@pytest.mark.parametrize("contract", ["sale", "bank", "models", "rewards", "stakes"])
def test_books_notice_a_contract_that_lost_money(suite: Suite, contract: str) -> None:
    Life(suite).live()
    thief = suite.accounts[9]
    address = suite.addresses[contract]
    balance = suite.view("token", "balanceOf", address)
    suite.anvil.call("anvil_impersonateAccount", address)
    suite.anvil.call("anvil_setBalance", address, hex(10**18))
    suite.send(address, "token", "transfer", thief, 1)
    found = check(suite)
    assert suite.view("token", "balanceOf", address) == balance - 1
    assert not found.balanced
    assert not found.solvent
    assert not found.per_contract[contract].exact
    assert found.sum_wei + found.burnt_wei == found.supply_wei  # nothing appeared, it only moved


@needs_anvil
def test_books_notice_a_balance_out_of_nothing(suite: Suite) -> None:
    holder = suite.accounts[1]
    suite.give(holder, TOKEN)
    set_slot(suite, "token", slot_of_balance(holder), 2 * TOKEN)
    assert suite.view("token", "balanceOf", holder) == 2 * TOKEN
    found = check(suite)
    assert not found.balanced
    assert found.sum_wei == found.supply_wei + TOKEN


@needs_anvil
def test_a_stray_transfer_is_seen_and_harms_nobody(suite: Suite) -> None:
    suite.give(suite.addresses["bank"], 5)
    found = check(suite)
    assert found.solvent
    assert not found.balanced
    assert found.per_contract["bank"].held_wei - found.per_contract["bank"].owed_wei == 5


@needs_anvil
def test_a_refusal_names_the_custom_error(suite: Suite) -> None:
    with pytest.raises(Refused, match=r"sale\.confirm: NotBuyer"):
        suite.send(suite.accounts[1], "sale", "confirm", 1)
