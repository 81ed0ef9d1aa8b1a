"""Every way to cheat with a voucher that we know of, against the till and the real bank.

The scene: Alice has deposited ten tokens and owes Carol two, by an honest voucher that her session key signed (it may
sign for five). Bob has deposited ten tokens too, and has nothing to do with it. Somebody brings Carol a voucher in
order to be served for one token more.

Each row says what it is, how Carol refuses it before she serves, and what it would bring if it were carried to the bank
all the same beside the honest one: nothing from anybody who did not sign it, and never more than its signer has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import coincurve
import msgspec
import pytest
import trio

from node.journal.vouchers import Takings
from node.wallet.errors import NoCover, VoucherRefused
from protocols import eip712
from protocols.errors import BadIdentifier, BadSignature
from protocols.ids import Address
from protocols.voucher import Voucher, sign_voucher, voucher_domain
from tests.integration.test_wallet_vouchers import LANE, vault
from tests.support.accounts import TOKEN, wallet_of
from tests.support.contract_wallet import OWNED, lay
from tests.support.money import Vault, fresh_suite, suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

ALICE, BOB, CAROL, MALLORY = (wallet_of(name) for name in ("alice", "bob", "carol", "dave"))
HONEST, NEXT = 2 * TOKEN, 3 * TOKEN
SESSION_CAP = 5 * TOKEN


class Scene:
    """What a cheat can use: everything but other people's keys."""

    def __init__(self, suite: Suite, alice: Vault, carol: Vault, honest: Voucher) -> None:
        self.suite, self.alice, self.carol, self.honest = suite, alice, carol, honest
        self.bank = Address(suite.addresses["bank"])

    def signed(
        self,
        key: coincurve.PrivateKey,
        sum_wei: int = NEXT,
        *,
        payer: Address = ALICE.address,
        payee: Address = CAROL.address,
        lane: int = LANE,
        chain_id: int = 31337,
        bank: Address | None = None,
    ) -> Voucher:
        return sign_voucher(key, voucher_domain(chain_id, bank or self.bank), payer, payee, lane, sum_wei)

    def by_alice(self, sum_wei: int = NEXT, **fields: Any) -> Voucher:
        return self.signed(ALICE.key, sum_wei, **fields)

    def by_session(self, sum_wei: int = NEXT, **fields: Any) -> Voucher:
        return self.signed(self.alice.session, sum_wei, **fields)


def altered(voucher: Voucher, **fields: object) -> Voucher:
    return msgspec.structs.replace(voucher, **fields)


def misspelt(address: str) -> str:
    return "0x" + address[2:].swapcase()


class Cheat(msgspec.Struct, frozen=True):
    """`bring` makes the voucher (and may prepare the ground); `brings` is what the bank would pay for it."""

    name: str
    bring: Callable[[Scene], Awaitable[Voucher] | Voucher]
    refusal: type[Exception]
    because: str
    brings: int | None = 0  # None: it cannot even be written down for the bank
    price_wei: int = TOKEN
    soft_limit_wei: int = 1_000 * TOKEN


# ------------------------------------------------------------------------------------------------ grounds to prepare


async def expired(scene: Scene) -> Voucher:
    scene.suite.pass_time(86_400)
    return scene.by_session()


async def about_to_expire(scene: Scene) -> Voucher:
    scene.suite.pass_time(86_400 - 60)
    return scene.by_session()


async def revoked(scene: Scene) -> Voucher:
    """Taken back; the bank lets it live for its delay, in which the honest voucher can be brought."""
    bank, hot = scene.alice.purse.chain.bank, eip712.address_of(scene.alice.session.public_key)
    await scene.alice.purse.transactor.once("revoke", bank.set_delegate(hot, scene.alice.now(), SESSION_CAP))
    scene.suite.pass_time(290)
    return scene.by_session()


async def emptied(scene: Scene) -> Voucher:
    """She leaves with everything, after Carol has settled what was owed."""
    await scene.carol.service.settle()
    await scene.alice.service.withdraw()
    scene.suite.pass_time(301)
    await scene.alice.deposits.finish_exit()
    return scene.by_alice()


async def announced(scene: Scene) -> Voucher:
    await scene.alice.service.withdraw(8 * TOKEN)
    return scene.by_alice()


async def spent_elsewhere(scene: Scene) -> Voucher:
    """The deposit goes to an accomplice by another voucher, all but what Carol holds."""
    other = scene.by_alice(8 * TOKEN, payee=MALLORY.address)
    items = [(other.payer, other.lane, other.cumulative, other.signature[:32], other.signature[32:])]
    scene.suite.send(scene.suite.admin, "bank", "settle", MALLORY.address, items, False)
    return scene.by_alice()


async def contract_of_nobody(scene: Scene) -> Voucher:
    wallet = lay(scene.suite, 9, OWNED, BOB.address)
    scene.suite.give(scene.suite.admin, 0, "bank")
    scene.suite.send(scene.suite.admin, "bank", "deposit", wallet, 5 * TOKEN)
    return scene.signed(MALLORY.key, TOKEN, payer=wallet)


# --------------------------------------------------------------------------------------------------------- the table

CHEATS = [
    # forged
    Cheat("signed by a stranger", lambda s: s.signed(MALLORY.key), NoCover, "may not sign"),
    Cheat("signed by nobody: zeros", lambda s: altered(s.honest, signature=bytes(64)), BadSignature, "not a signature"),
    Cheat("signed by nobody: ones", lambda s: altered(s.honest, signature=b"\xff" * 64), BadSignature, "not a sig"),
    Cheat("the honest one, a higher sum", lambda s: altered(s.honest, cumulative_wei=str(NEXT)), NoCover, "may not"),
    Cheat("the honest one from Bob's money", lambda s: altered(s.honest, payer=BOB.address), NoCover, "may not sign"),
    Cheat("Alice's session key for Bob", lambda s: s.by_session(payer=BOB.address), NoCover, "may not sign"),
    Cheat("a stranger for a contract wallet", contract_of_nobody, NoCover, "may not sign"),
    # made for somebody or something else
    Cheat("of another chain", lambda s: s.by_alice(chain_id=1), NoCover, "may not sign"),
    Cheat("of another bank", lambda s: s.by_alice(bank=Address(s.suite.addresses["sale"])), NoCover, "may not"),
    Cheat("of another lane", lambda s: s.by_alice(lane=6), VoucherRefused, "on lane 6, not", NEXT),
    Cheat("of another lane, relabelled", lambda s: altered(s.by_alice(lane=6), lane=LANE), NoCover, "may not"),
    Cheat("to somebody else", lambda s: s.by_alice(payee=BOB.address), VoucherRefused, f"pays {BOB.address}"),
    Cheat(
        "to somebody else, relabelled",
        lambda s: altered(s.by_alice(payee=BOB.address), payee=CAROL.address),
        NoCover,
        "may not sign",
    ),
    # worth nothing more
    Cheat("the honest one again", lambda s: s.honest, VoucherRefused, "does not pay"),
    Cheat("an older one", lambda s: s.by_alice(TOKEN), VoucherRefused, "stands at"),
    Cheat("the same sum, signed anew", lambda s: s.by_alice(HONEST), VoucherRefused, "does not pay"),
    Cheat("raised by a base unit", lambda s: s.by_alice(HONEST + 1), VoucherRefused, "does not pay", 1),
    Cheat("raised by nothing, for nothing", lambda s: s.signed(MALLORY.key, HONEST), VoucherRefused, "did not",
          price_wei=0),
    # not covered
    Cheat("beyond the deposit", lambda s: s.by_alice(10 * TOKEN + 1), NoCover, "stand behind it", 8 * TOKEN),
    Cheat(
        "beyond what one payer may owe",
        lambda s: s.by_alice(),
        NoCover,
        "without hard cover",
        TOKEN,
        soft_limit_wei=NEXT - 1,
    ),
    Cheat("by one who has left", emptied, NoCover, "0 wei stand behind"),
    Cheat("by one who has said that she leaves", announced, NoCover, f"{HONEST} wei stand behind", TOKEN),
    Cheat("from a deposit that went elsewhere", spent_elsewhere, NoCover, f"{HONEST} wei stand behind"),
    # by a session key that may not
    Cheat("by an expired session key", expired, NoCover, "not for long enough"),
    Cheat("by a session key about to expire", about_to_expire, NoCover, "not for long enough", TOKEN),
    Cheat("by a session key that was taken back", revoked, NoCover, "not for long enough", TOKEN),
    Cheat("beyond the session key's cap", lambda s: s.by_session(6 * TOKEN), NoCover, "may sign for", NEXT),
    # not even a voucher
    Cheat("with a payer in small letters", lambda s: altered(s.by_alice(), payer=ALICE.address.lower()),
          VoucherRefused, "checksum", TOKEN),
    Cheat("with a payer of wrong spelling", lambda s: altered(s.honest, payer=misspelt(ALICE.address)),
          BadIdentifier, "checksum", None),
    Cheat("over more than the bank can hold", lambda s: altered(s.honest, cumulative_wei=str(2**96)), BadSignature,
          "not a signature", None),
]  # fmt: skip


@pytest.mark.parametrize("cheat", CHEATS, ids=[cheat.name for cheat in CHEATS])
async def test_it_is_refused_before_serving_and_costs_nobody_anything(
    suite: Suite, tmp_path: Path, cheat: Cheat
) -> None:
    with trio.fail_after(60):
        async with (
            vault(suite, tmp_path, "alice", session_cap_wei=SESSION_CAP) as alice,
            vault(suite, tmp_path, "bob") as bob,
            vault(suite, tmp_path, "carol", soft_limit_wei=cheat.soft_limit_wei) as carol,
        ):
            await alice.service.deposit(10 * TOKEN)
            await bob.service.deposit(10 * TOKEN)
            honest = await alice.lanes.promise(CAROL.address, LANE, HONEST)
            await carol.till.accept(honest, payee=CAROL.address, lane=LANE, price_wei=HONEST)
            made = cheat.bring(Scene(suite, alice, carol, honest))
            voucher = made if isinstance(made, Voucher) else await made
            before = await Takings(carol.purse.journal).every()

            with pytest.raises(cheat.refusal, match=cheat.because):
                await carol.till.accept(voucher, payee=CAROL.address, lane=LANE, price_wei=cheat.price_wei)
            assert await Takings(carol.purse.journal).every() == before
            await carry_to_the_bank(suite, voucher, honest, cheat)
            assert (await carol.purse.chain.bank.account(BOB.address)).free_wei == 10 * TOKEN


async def carry_to_the_bank(suite: Suite, voucher: Voucher, honest: Voucher, cheat: Cheat) -> None:
    """Whoever brings both: Carol gets what is honest, and of the other what its signer really has."""
    honest_in_time = "expired" not in cheat.name
    expected = 1_000 * TOKEN + (HONEST if honest_in_time else 0) + (cheat.brings or 0)
    vouchers = [honest] if cheat.brings is None else [honest, voucher]
    items = [(one.payer, one.lane, one.cumulative, one.signature[:32], one.signature[32:]) for one in vouchers]
    suite.send(suite.admin, "bank", "settle", CAROL.address, items, False)
    assert suite.view("token", "balanceOf", CAROL.address) == expected
