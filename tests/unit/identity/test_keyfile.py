"""Key files: private from the first instant, whole or not there, the same for everybody who asks."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.identity import keyfile
from node.identity.errors import KeyFileDamaged, KeyFileExposed, PassphraseUnusable
from node.identity.passphrase import find_passphrase


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    seed = keyfile.network_key(path)
    assert len(seed) == 32
    assert keyfile.network_key(path) == seed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity.key"]


def test_a_loose_umask_does_not_open_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keyfile.network_key(tmp_path / "identity.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "identity.key").stat().st_mode) == 0o600


def test_many_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(keyfile.network_key, [tmp_path / "identity.key"] * 32))) == 1


def test_a_key_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    keyfile.network_key(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileExposed, match="mode 640, it must be 600"):
        keyfile.network_key(path)


@pytest.mark.parametrize("text", [b"", b"zz" * 32, b"ab" * 31, b"ab" * 33, b"\xff" * 64, b"0" * 2_000])
def test_a_damaged_key_is_never_replaced(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "identity.key"
    keyfile.write_new(path, text)
    with pytest.raises(KeyFileDamaged):
        keyfile.network_key(path)
    assert path.read_bytes() == text


@pytest.mark.parametrize("secret", ["00" * 32, "ff" * 32])
def test_a_session_key_outside_the_curve_is_refused(tmp_path: Path, secret: str) -> None:
    keyfile.write_new(tmp_path / "session.key", secret.encode())
    with pytest.raises(KeyFileDamaged):
        keyfile.session_key(tmp_path / "session.key")


def test_the_session_key_stays(tmp_path: Path) -> None:
    path = tmp_path / "session.key"
    assert keyfile.session_key(path).secret == keyfile.session_key(path).secret


def private(path: Path, text: str) -> str:
    keyfile.write_new(path, text.encode())
    return str(path)


def test_passphrase_sources_in_their_order(tmp_path: Path) -> None:
    configured = private(tmp_path / "configured", "one\n")
    private(tmp_path / "schwung-passphrase", "two\r\n")
    named = private(tmp_path / "named", "three")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "SCHWUNG_PASSPHRASE_FILE": named}
    assert find_passphrase(configured, environ) == "one"
    assert find_passphrase("", environ) == "two"
    assert find_passphrase("", {"SCHWUNG_PASSPHRASE_FILE": named}) == "three"
    assert find_passphrase("", {}) is None


@pytest.mark.parametrize("text", ["", "\n", "\nsecond line"])
def test_an_empty_passphrase_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PassphraseUnusable, match="empty"):
        find_passphrase(private(tmp_path / "p", text), {})


def test_a_missing_or_exposed_passphrase_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PassphraseUnusable, match="No such file"):
        find_passphrase(str(tmp_path / "none"), {})
    path = private(tmp_path / "p", "secret")
    (tmp_path / "p").chmod(0o644)
    with pytest.raises(PassphraseUnusable, match="read by others") as caught:
        find_passphrase(path, {})
    assert "secret" not in str(caught.value)
