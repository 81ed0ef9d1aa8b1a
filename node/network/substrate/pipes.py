"""The two ends of a connection's hot path, many Yamux frames at a time (put in by `substrate`), and their trial.

The bytes on the wire are those of stock code (`noisewire`); an `Outlet` seals and an `Inlet` opens them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession
from noise.backends.default.ciphers import ChaCha20Cipher  # type: ignore[import-untyped]
from noise.state import CipherState  # type: ignore[import-untyped]

from node.network.substrate.inlet import Inlet
from node.network.substrate.noisewire import HEADER, LENGTH_BYTES, TAG_BYTES
from node.network.substrate.outlet import Outlet


def outlet_of(session: Any) -> tuple[Outlet, Any] | None:
    """An outlet and the socket it ends in; None for a connection that is not Noise over TCP as we know it."""
    parts = _parts(session)
    return (Outlet(parts[0].cipher_state_encrypt), parts[1].stream) if parts else None


def inlet_of(muxer: Any) -> Inlet | None:
    """An inlet for the muxer's connection, from the byte on where reading stands; None as `outlet_of`."""
    parts = _parts(muxer.secured_conn)
    if parts is None:
        return None
    protocol, tcp = parts
    ahead, tcp._ahead = bytes(tcp._ahead[tcp._ahead_at :]), b""
    return Inlet(muxer, muxer.secured_conn, tcp.stream.socket, protocol.cipher_state_decrypt, ahead)


def _parts(session: Any) -> tuple[Any, TrioTCPStream] | None:
    session = session._session if type(session) is Inlet else session
    if type(session) is not SecureSession or type(session.conn) is not NoiseTransportReadWriter:
        return None
    raw = session.conn.read_writer.read_write_closer
    if type(raw) is not RawConnection or type(raw.stream) is not TrioTCPStream:
        return None
    protocol = session.conn.noise_state.noise_protocol
    ciphers = protocol.cipher_state_encrypt, protocol.cipher_state_decrypt
    if any(type(cipher.cipher) is not ChaCha20Cipher for cipher in ciphers):
        return None
    return protocol, raw.stream


def trial() -> str:
    """Both ends against the stock cipher, in memory: why they do not fit, or ""."""
    try:
        return "" if _goes_through() else "what the repairs seal and open is not what stock code does"
    except Exception as err:  # whatever a changed library raises: then we stay with stock code
        return f"a frame did not go through the repairs: {err!r}"


def _goes_through() -> bool:
    body, ping = bytes(range(250)) * 480, HEADER.pack(0, 2, 1, 0, 7)
    sending, stock, receiving = (CipherState(SimpleNamespace(cipher_class=ChaCha20Cipher)) for _ in range(3))
    for cipher in (sending, stock, receiving):
        cipher.initialize_key(bytes(range(32)))
    wire, opened, at = bytes(Outlet(sending).seal(5, memoryview(body))), b"", 0
    while at < len(wire):
        end = at + LENGTH_BYTES + int.from_bytes(wire[at : at + LENGTH_BYTES], "big")
        opened += stock.decrypt_with_ad(None, wire[at + LENGTH_BYTES : end])[HEADER.size :]
        at = end
    wire += (HEADER.size + TAG_BYTES).to_bytes(LENGTH_BYTES, "big") + sending.encrypt_with_ad(None, ping)
    stream, buffer = SimpleNamespace(recv_window=len(body)), bytearray()
    muxer = SimpleNamespace(streams={5: stream}, stream_buffers={5: buffer}, stream_events={})
    inlet = Inlet(muxer, SimpleNamespace(_drain=lambda _n: b""), None, receiving, wire)
    try:
        inlet.read(HEADER.size).send(None)  # everything is there: it returns without waiting
    except StopIteration as done:
        return opened == body == bytes(buffer) and done.value == ping and stream.recv_window == 0
    return False
