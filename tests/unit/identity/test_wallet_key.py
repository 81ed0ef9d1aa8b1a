"""The wallet: created once, opened with its passphrase, locked again by itself, interchangeable with geth's files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import coincurve
import pytest
import trio.testing
from eth_account import Account

from node.identity.errors import KeyFileDamaged, NoWallet, WalletExists, WalletLocked, WrongPassphrase
from node.identity.keyfile import write_new
from node.identity.keystore import Keystore
from node.identity.wallet_key import Wallet
from protocols import eip712

NOW = datetime(2026, 11, 22, 15, 4, 5, 123456, tzinfo=UTC)
DIGEST = bytes(range(32))
SECRET = b"\x42" * 32
ADDRESS = eip712.address_of(coincurve.PrivateKey(SECRET).public_key)


def wallet_in(folder: Path) -> Wallet:
    return Wallet(Keystore(folder, scrypt_log2=10))


async def test_a_new_wallet_is_locked_and_opens_with_its_passphrase(tmp_path: Path) -> None:
    wallet = wallet_in(tmp_path)
    assert not wallet.exists
    address = await wallet.create("correct horse", NOW)
    assert wallet.locked
    with pytest.raises(WalletLocked):
        wallet.sign(DIGEST)
    await wallet.unlock("correct horse")
    assert eip712.recover(DIGEST, wallet.sign(DIGEST)) == address
    assert wallet_in(tmp_path).address == address


async def test_without_a_wallet_everything_says_so(tmp_path: Path) -> None:
    wallet = wallet_in(tmp_path / "none")
    for attempt in (lambda: wallet.address, lambda: wallet.sign(DIGEST)):
        with pytest.raises(NoWallet):
            attempt()
    with pytest.raises(NoWallet):
        await wallet.unlock("x")


async def test_a_wrong_passphrase_leaves_it_locked(tmp_path: Path) -> None:
    wallet = wallet_in(tmp_path)
    await wallet.create("right", NOW)
    with pytest.raises(WrongPassphrase):
        await wallet.unlock("wrong")
    assert wallet.locked


async def test_a_second_wallet_is_refused(tmp_path: Path) -> None:
    wallet = wallet_in(tmp_path)
    await wallet.create("one", NOW, SECRET)
    with pytest.raises(WalletExists, match=ADDRESS):
        await wallet.create("two", NOW)
    assert len(list(tmp_path.iterdir())) == 1


async def test_the_wallet_locks_itself_when_its_time_is_over(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    wallet = wallet_in(tmp_path)
    await wallet.create("p", NOW)
    await wallet.unlock("p", for_s=60)
    await trio.sleep(59)
    assert not wallet.locked
    await trio.sleep(1)
    with pytest.raises(WalletLocked):
        wallet.sign(DIGEST)
    assert wallet.locked


async def test_lock_forgets_at_once(tmp_path: Path) -> None:
    wallet = wallet_in(tmp_path)
    await wallet.create("p", NOW)
    await wallet.unlock("p")
    wallet.lock()
    with pytest.raises(WalletLocked):
        wallet.sign(DIGEST)


async def test_our_file_opens_elsewhere_and_has_geths_name(tmp_path: Path) -> None:
    await wallet_in(tmp_path).create("p", NOW, SECRET)
    (path,) = tmp_path.iterdir()
    assert path.name == f"UTC--2026-11-22T15-04-05.123456000Z--{ADDRESS[2:].lower()}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert Account.decrypt(path.read_text(), "p") == SECRET


async def test_a_file_from_elsewhere_opens_here(tmp_path: Path) -> None:
    document = Account.encrypt(SECRET, "p", kdf="pbkdf2", iterations=10)
    write_new(tmp_path / "UTC--2020-01-01T00-00-00.000000000Z--x", json.dumps(document).encode())
    wallet = wallet_in(tmp_path)
    assert wallet.address == ADDRESS
    await wallet.unlock("p")
    assert eip712.recover(DIGEST, wallet.sign(DIGEST)) == ADDRESS


def damaged(change: dict[str, Any]) -> dict[str, Any]:
    return {**Account.encrypt(SECRET, "p", kdf="pbkdf2", iterations=10), **change}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 4},
        {"address": "nonsense"},
        {"address": "11" * 20},
        {"crypto": {}},
        {"crypto": None},
        {"crypto": {"kdf": "scrypt", "kdfparams": {"n": 1 << 30, "r": 8, "p": 1, "dklen": 32, "salt": "00"}}},
        {"crypto": {"kdf": "none", "kdfparams": {}}},
    ],
)
async def test_a_damaged_file_is_named_and_kept(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "UTC--2020-01-01T00-00-00.000000000Z--x"
    text = json.dumps(damaged(change)).encode()
    write_new(path, text)
    with pytest.raises(KeyFileDamaged, match="UTC--2020"):
        await wallet_in(tmp_path).unlock("p")
    assert path.read_bytes() == text
