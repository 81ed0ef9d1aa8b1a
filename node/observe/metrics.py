"""Numbers for Prometheus: one registry a node, base units, no peer ids or CIDs as labels (they have no bound).

Names are `schwung_<area>_<noun>_<unit>`; a service asks for its own instruments once, when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX = "schwung_"
RPC_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0)  # seconds: a status is in the first, a search in the fifth


class Metrics:
    """The instruments of one node, injected where they are needed (tests make their own)."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.gauge("build_info", "Constant 1, labelled with the version.", ["version"]).labels(version).set(1)
        self.rpc_seconds = self.histogram("rpc_seconds", "Duration of RPC calls.", ["method"], RPC_BUCKETS)
        self.rpc_errors = self.counter(
            "rpc_errors", "RPC calls answered with an error, by its kind.", ["method", "kind"]
        )

    def counter(self, name: str, summary: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(PREFIX + name, summary, labels, registry=self.registry)

    def gauge(self, name: str, summary: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(PREFIX + name, summary, labels, registry=self.registry)

    def histogram(self, name: str, summary: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(PREFIX + name, summary, labels, registry=self.registry, buckets=buckets)

    def watch(self, name: str, summary: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks, such as the number of peers."""
        self.gauge(name, summary).set_function(value)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
