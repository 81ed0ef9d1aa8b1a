"""What gossip is measured against: one process that tells others, by plain TCP and by Kubo's own gossip."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import socket
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.jsipfs import _free_port
from tests.support.kubo import _configure, _library

MESSAGE_BYTES = 6_600
TOPIC = b"bench"
QUIET_S = 10.0  # nothing more comes


def _message() -> bytes:
    return f"{time.monotonic()!r} ".encode() + os.urandom(MESSAGE_BYTES - 32)


def _age(data: bytes) -> float:
    return time.monotonic() - float(data.partition(b" ")[0])


def _pace(start: float, number: int, rate: float) -> None:
    time.sleep(max(0.0, start + number / rate - time.monotonic()))


def tcp_delays(nodes: int, rate: float, count: int) -> list[float]:
    """From one process to `nodes - 1` others, which take the time when they have read a message."""
    context = get_context("spawn")
    with socket.create_server(("127.0.0.1", 0)) as door:
        pipes = [context.Pipe() for _ in range(nodes - 1)]
        readers = [
            context.Process(target=_read_tcp, args=(theirs, door.getsockname()[1]), daemon=True) for _, theirs in pipes
        ]
        for reader in readers:
            reader.start()
        wires = [door.accept()[0] for _ in readers]
        start = time.monotonic()
        for number in range(count):
            _pace(start, number, rate)
            data = _message().ljust(MESSAGE_BYTES)
            for wire in wires:
                wire.sendall(data)
        for wire in wires:
            wire.close()
        found = [delay for ours, _ in pipes for delay in ours.recv()]
        for reader in readers:
            reader.join()
    return found


def _read_tcp(ready: Connection, port: int) -> None:
    delays = []
    with socket.create_connection(("127.0.0.1", port)) as wire:
        while data := wire.recv(MESSAGE_BYTES, socket.MSG_WAITALL):
            delays.append(_age(data))
    ready.send(delays)


def kubo_delays(nodes: int, rate: float, count: int) -> list[float]:
    """From one Kubo node to `nodes - 1` others, all connected to all."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe() for _ in range(nodes)]
        peers = [
            context.Process(target=_be_kubo, args=(theirs, f"{folder}/{number}"), daemon=True)
            for number, (_, theirs) in enumerate(pipes)
        ]
        for peer in peers:
            peer.start()
        addresses = [ours.recv() for ours, _ in pipes]
        for number, (ours, _) in enumerate(pipes):
            ours.send(addresses[:number])
        for ours, _ in pipes:
            ours.recv()
        time.sleep(5)  # the mesh has its degree
        for number, (ours, _) in enumerate(pipes):
            ours.send((rate, 0 if number else count))
        found = [delay for ours, _ in pipes[1:] for delay in ours.recv()]
        for peer in peers:
            peer.kill()
            peer.join()
    return found


def _be_kubo(talk: Connection, repo: str) -> None:
    os.makedirs(repo)
    os.chdir(repo)  # the library writes a log where it stands
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    library, name, port = ctypes.CDLL(str(_library())), repo.encode(), _free_port()
    library.GetNodeID.restype = library.PubSubNextMessage.restype = ctypes.c_char_p
    library.PubSubSubscribe.restype = ctypes.c_longlong
    library.PubSubNextMessage.argtypes = [ctypes.c_longlong]
    library.CreateRepo(name)
    _configure(Path(repo) / "config", port)
    library.PubSubEnable(name)
    library.RunNode(name)
    talk.send(f"/ip4/127.0.0.1/tcp/{port}/p2p/{library.GetNodeID(name).decode()}")
    subscription = library.PubSubSubscribe(name, TOPIC)
    for address in talk.recv():
        library.ConnectToPeer(name, address.encode())
    talk.send("connected")
    rate, count = talk.recv()
    start = time.monotonic()
    for number in range(count):
        _pace(start, number, rate)
        data = _message()
        library.PubSubPublish(name, TOPIC, data, len(data))
    delays, last = [], time.monotonic()
    while not count and time.monotonic() - last < QUIET_S:
        said = library.PubSubNextMessage(subscription)
        if said:
            last = time.monotonic()
            delays.append(_age(base64.urlsafe_b64decode(json.loads(said)["data"])))
        else:
            time.sleep(0.001)
    talk.send(delays)
