"""How many connections come in from one address, before anything is read from them.

A peer id costs nothing to make, an address does: who comes under ever new names is held at the address he comes from,
an IPv4 address or an IPv6 /64, the least that a site is given (RFC 6177). Addresses that are not of the public Internet
(loopback, RFC 1918, carrier NAT) are shared by many honest nodes, in a test all of them; there every bound is
`leniency` times as wide.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from node.network.guard.allowance import Allowance
from node.network.guard.conduct import FIRST_BAN_S, LIMIT, Fault, Score

CONNECTS_PER_S = 0.5
BURST_PER_PLACE = 4  # connects at once, for each connection that may stand
HARBOURED = Fault(34, "banned peers")  # three from one address within minutes, and the address is refused
KNOWN = 4_096


class Refused(Exception):
    """Why nobody comes in from an address now."""


class Turnstile:
    """The addresses of one host's inbound connections."""

    def __init__(self, most: int, leniency: int, clock: Callable[[], float]) -> None:
        """At most `most` connections from one address at a time; `clock` in seconds."""
        self._most = most
        self._leniency = leniency
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._rates = {
            wide: Allowance(CONNECTS_PER_S * wide, float(most * BURST_PER_PLACE * wide)) for wide in {1, leniency}
        }
        self._scores: OrderedDict[str, Score] = OrderedDict()
        self._barred: dict[str, float] = {}
        self.refused = 0

    @contextmanager
    def enter(self, host: str) -> Iterator[None]:
        """Count a connection in, for as long as it stands. Raises Refused."""
        place, wide = site(host), self._wide(host)
        reason = self._why_not(place, wide)
        if reason:
            self.refused += 1
            raise Refused(reason)
        self._open[place] += 1
        try:
            yield
        finally:
            self._open[place] -= 1
            if not self._open[place]:
                del self._open[place]

    def note(self, host: str) -> None:
        """A peer at this address was banned; too many of them, and nobody comes in from there for a while."""
        place, now = site(host), self._clock()
        score = self._scores.get(place)
        if score is None:
            score = self._scores[place] = Score(now)
        self._scores.move_to_end(place)
        if len(self._scores) > KNOWN:
            self._scores.popitem(last=False)
        if score.add(HARBOURED, 1 / self._wide(host), now) >= LIMIT:
            del self._scores[place]
            self._barred = {name: until for name, until in self._barred.items() if until > now}
            self._barred[place] = now + FIRST_BAN_S

    def _why_not(self, place: str, wide: int) -> str:
        now = self._clock()
        if self._barred.get(place, now) > now:
            return f"{place} brought too many banned peers"
        if self._open[place] >= self._most * wide:
            return f"{place} has {self._open[place]} connections already"
        return "" if self._rates[wide].take(place, now) else f"{place} connects too often"

    def _wide(self, host: str) -> int:
        return 1 if _is_public(host) else self._leniency


def site(host: str) -> str:
    """What counts as one place: an IPv4 address, an IPv6 /64."""
    address = _parse(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address) if address else host


def _parse(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_public(host: str) -> bool:
    address = _parse(host)
    return address is not None and address.is_global
