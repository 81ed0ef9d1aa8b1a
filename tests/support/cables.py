"""Hosts with a network card each, and the switch between them: real kernels' TCP over links as bad as we like.

A host is a network namespace (`unshare --net`, also without root) that lives as long as the process that holds it. Its
card is a TAP device whose other end we have as a file: what the host sends, we read, frame by frame, and hand to the
others late, or never. So delay, loss, a pulled cable and a partition work on every kernel, also without sch_netem, in
both directions, and nothing is left behind when the processes are gone, however they ended.

All addresses are of these namespaces (10.77.0.0/24); no frame leaves the switch.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import trio

TUN = "/dev/net/tun"
TUNSETIFF, TUNSETCARRIER = 0x400454CA, 0x400454E2  # linux/if_tun.h
IFF_TAP_NO_PI = 0x0002 | 0x1000
FRAME_BYTES = 65_536
AT_ONCE = 64  # frames of one host before others have their turn
EVERYBODY = b"\xff" * 6
SYN, ACK = 0x02, 0x10


def _isolated() -> list[str]:
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]


def missing() -> str:
    """Why there can be no hosts here, or ""."""
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"{TUN} cannot be opened: no network cards can be made"
    done = subprocess.run([*_isolated(), "ip", "link"], capture_output=True, check=False)
    return "" if done.returncode == 0 else f"no network namespaces here: {done.stderr.decode().strip()}"


class Card:
    """One host's end of the network; `number` makes its addresses."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.address = f"10.77.0.{number}"
        self.mac = bytes([2, 0, 0, 0, 0, number])
        ours, theirs = socket.socketpair()
        command = [*_isolated(), sys.executable, "-m", "tests.support.cables", str(number), str(theirs.fileno())]
        self._holder = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[2])
        theirs.close()
        with ours:
            ours.settimeout(20)
            _, (self.fd,), _, _ = socket.recv_fds(ours, 1, 1)
        os.set_blocking(self.fd, False)
        self.delay_s = 0.0
        self.loss = 0.0
        self.group = 0
        self.plugged = True
        self.walled = False  # lets out who calls, and nobody in: a NAT without a mapping, a firewall
        self.calls = 0  # TCP connections that somebody began to this host

    def within(self, command: list[str]) -> list[str]:
        """A command as it is run on this host."""
        enter = ["nsenter", "--target", str(self._holder.pid), "--net"]
        return [*enter, *([] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]), *command]

    def plug(self, *, plugged: bool) -> None:
        """Pull the cable, or put it back: the host sees that its link is down."""
        self.plugged = plugged
        fcntl.ioctl(self.fd, TUNSETCARRIER, struct.pack("i", plugged))

    def move(self, number: int) -> None:
        """Take another address."""
        for act, old in (("del", self.number), ("add", number)):  # the first of two takes the second with it
            command = self.within(["ip", "address", act, f"10.77.0.{old}/24", "dev", "eth0"])
            subprocess.run(command, check=True, capture_output=True)
        self.number, self.address = number, f"10.77.0.{number}"

    def remove(self) -> None:
        """The host is gone, with all it had."""
        os.close(self.fd)
        self._holder.kill()
        self._holder.wait()


class Switch:
    """Hands frames from card to card."""

    def __init__(self, seed: int = 1) -> None:
        self.cards: dict[bytes, Card] = {}
        self._late: list[tuple[float, int, Card, bytes]] = []
        self._counted = 0
        self._woken = trio.Event()
        self._dice = random.Random(seed)
        self.lost = 0

    def part(self, *groups: Iterable[Card]) -> None:
        """Cards of different groups no longer hear one another, and are not told; no group: all hear all."""
        for card in self.cards.values():
            card.group = 0
        for number, group in enumerate(groups):
            for card in group:
                card.group = number

    async def serve(self, card: Card) -> None:
        """Carry what one card sends until it is removed."""
        self.cards[card.mac] = card
        while True:
            await trio.lowlevel.wait_readable(card.fd)
            for _ in range(AT_ONCE):
                try:
                    frame = os.read(card.fd, FRAME_BYTES)
                except BlockingIOError:
                    break
                self._carry(card, frame)

    async def deliver_late(self) -> None:
        """Hand over what was delayed, when its time has come."""
        while True:
            now = trio.current_time()
            while self._late and self._late[0][0] <= now:
                _, _, card, frame = heapq.heappop(self._late)
                self._hand(card, frame)
            self._woken = trio.Event()
            with trio.move_on_at(self._late[0][0] if self._late else float("inf")):
                await self._woken.wait()

    def _carry(self, sender: Card, frame: bytes) -> None:
        to = frame[:6]
        if to in self.cards and _is_call(frame):
            self.cards[to].calls += 1
        for target in self._targets(sender, to):
            if sender.group != target.group or not (sender.plugged and target.plugged):
                continue
            if target.walled and _is_call(frame):
                continue
            if any(card.loss and self._dice.random() < card.loss for card in (sender, target)):
                self.lost += 1
                continue
            delay_s = sender.delay_s + target.delay_s
            if not delay_s:
                self._hand(target, frame)
                continue
            self._counted += 1
            heapq.heappush(self._late, (trio.current_time() + delay_s, self._counted, target, frame))
            self._woken.set()

    def _targets(self, sender: Card, to: bytes) -> Collection[Card]:
        if to in self.cards:
            return [self.cards[to]]
        return [card for card in self.cards.values() if card is not sender] if to == EVERYBODY else []

    def _hand(self, card: Card, frame: bytes) -> None:
        try:
            os.write(card.fd, frame)
        except (BlockingIOError, OSError):  # its queue is full, or it has no link: a real card loses it too
            self.lost += 1


def _is_call(frame: bytes) -> bool:
    """Whether a frame begins a TCP connection over IPv4; a repetition of it does too."""
    if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_TCP:
        return False
    flags = frame[14 + (frame[14] & 15) * 4 + 13]
    return bool(flags & SYN and not flags & ACK)


def _hold(number: int, wire: int) -> None:
    """Inside the new namespace: make the card, send its other end away, and stay."""
    tap = os.open(TUN, os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", b"eth0", IFF_TAP_NO_PI))
    mac = f"02:00:00:00:00:{number:02x}"
    for words in (
        "link set lo up",
        f"link set eth0 address {mac}",
        f"address add 10.77.0.{number}/24 dev eth0",
        "link set eth0 up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    with socket.socket(fileno=wire) as ours:
        socket.send_fds(ours, [b"\0"], [tap])
    os.close(tap)
    signal.pause()


if __name__ == "__main__":
    _hold(int(sys.argv[1]), int(sys.argv[2]))
