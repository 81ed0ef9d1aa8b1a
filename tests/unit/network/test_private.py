"""Private network keys: what files are taken, and the cipher against Bernstein's own numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.network.errors import BadNetworkKey
from node.network.private import MAX_FILE_BYTES, OtherKey, PrivateConnection, cipher, fingerprint, parse_key, read_key

DIGITS = "0123456789abcdef0123456789ABCDEFfedcba98765432100123456789abcdef"
KEY = bytes.fromhex(DIGITS)
FILE = f"/key/swarm/psk/1.0.0/\n/base16/\n{DIGITS}\n".encode()


def test_a_key_file_of_go_ipfs_is_read(tmp_path: Path) -> None:
    path = tmp_path / "swarm.key"
    path.write_bytes(FILE)
    assert read_key(str(path)) == KEY
    assert parse_key(FILE.rstrip()) == parse_key(FILE.replace(b"\n", b"\r\n")) == KEY
    assert read_key("") == b""
    assert fingerprint(KEY) != fingerprint(bytes(32))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "not three lines"),
        (DIGITS.encode(), "not three lines"),
        (FILE.replace(b"1.0.0", b"2.0.0"), "not three lines"),
        (FILE + b"more\n", "not three lines"),
        (FILE.replace(b"base16", b"base64"), "coded as /base64/"),
        (FILE.replace(b"0123", b"012", 1), "it has 63 characters"),
        (FILE.replace(b"0123", b"01x3", 1), "64 hex digits"),
        (FILE.replace(DIGITS.encode(), b"00" * 32), "can be guessed"),
        (FILE + b"\n" * MAX_FILE_BYTES, "larger than"),
    ],
)
def test_any_other_file_is_refused_with_what_is_wrong(tmp_path: Path, text: bytes, complaint: str) -> None:
    path = tmp_path / "swarm.key"
    path.write_bytes(text)
    with pytest.raises(BadNetworkKey, match=complaint) as caught:
        read_key(str(path))
    assert str(path) in str(caught.value)
    assert DIGITS[4:40] not in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadNetworkKey, match="No such file"):
        read_key(str(tmp_path / "none"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_refused(text: bytes) -> None:
    try:
        assert len(parse_key(text)) == 32
    except BadNetworkKey:
        assert text != FILE


def test_the_cipher_is_xsalsa20() -> None:
    # the test of crypto_stream_xsalsa20 in NaCl ("Cryptography in NaCl", section 8)
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    expected = "eea6a7251c1e72916d11c2cb214d3c252539121d8e234e652d651fa4c8cff880"
    assert cipher(key, nonce).encrypt(bytes(32)).hex() == expected


class Tape:
    """A connection that plays what it was given, some bytes at a time, and keeps what is written."""

    is_initiator = True

    def __init__(self, data: bytes = b"", at_once: int = 1_000) -> None:
        self.data = data
        self.written = b""
        self._at_once = at_once

    async def read(self, n: int | None = None) -> bytes:
        size = min(n or self._at_once, self._at_once)
        piece, self.data = self.data[:size], self.data[size:]
        return piece

    async def write(self, data: bytes) -> None:
        self.written += data


@pytest.mark.parametrize("at_once", [1, 7, 1_000])
async def test_what_one_side_writes_the_other_reads(at_once: int) -> None:
    tape = Tape()
    sender = PrivateConnection(tape, KEY)
    words = b"\x13/multistream/1.0.0\n" + bytes(range(256))
    await sender.write(words[:5])
    await sender.write(words[5:])
    assert b"multistream" not in tape.written
    receiver = PrivateConnection(Tape(tape.written, at_once), KEY)
    got = b""
    while piece := await receiver.read(100):
        got += piece
    assert got == words


@given(st.binary(max_size=120), st.integers(1, 40))
async def test_what_is_not_under_our_key_is_refused_at_its_first_bytes(noise: bytes, at_once: int) -> None:
    receiver = PrivateConnection(Tape(noise, at_once), KEY)
    with pytest.raises(OtherKey):
        await _drain(receiver)


async def _drain(connection: PrivateConnection) -> None:
    while await connection.read(1):
        pass
