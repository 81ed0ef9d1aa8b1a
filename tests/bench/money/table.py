"""The figures by step, and the peers' beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

# Published by their authors, or measured from their contracts. They do different things, which the name says; the last
# column is the step of ours that does what comes nearest.
PEERS: Sequence[tuple[str, int, str]] = (
    ("Ocean: one purchase (no fairness, no refund)", 203_479, "= fair sale, key in private"),
    ("Vana: one trusted read", 222_844, "= fair sale, key in private"),
    ("FDE (BN254): one atomic sale", 264_482, "= fair sale, all on chain"),
    ("FairSwap: one optimistic sale", 986_692, "= fair sale, all on chain"),
    ("SingularityNET: one claim in a batch", 44_500, "= marginal voucher"),
    ("Swarm: one cheque", 73_800, "bank.settle 1"),
    ("The Graph: one RAV", 150_000, "bank.settle 1"),
    ("x402 batch: one voucher, without base gas", 19_200, "= marginal voucher"),
)


@dataclass
class Table:
    """The figures, by step: [first, again]."""

    rows: dict[str, list[int | None]] = field(default_factory=dict)

    def put(self, step: str, first: int | None, again: int | None = None) -> None:
        self.rows[step] = [first, again]

    def __str__(self) -> str:
        lines = [f"{'step':<52}{'first':>11}{'again':>11}"]
        for step, values in self.rows.items():
            first, again = ("" if v is None else f"{v:,}" for v in values)
            lines.append(f"{step:<52}{first:>11}{again:>11}")
        return "\n".join(lines)

    def beside(self, peers: Sequence[tuple[str, int, str]] = PEERS) -> str:
        """What peers take, what we take, and how many times ours fits into theirs."""
        lines = [f"{'peer':<46}{'theirs':>9}{'first':>9}{'again':>9}{'':>8}{'':>8}  ours"]
        for name, theirs, step in peers:
            ours = [value for value in self.rows[step] if value is not None]
            ratios = [f"{theirs / value:.2f}x" for value in ours]
            cells = [f"{value:,}" for value in ours]
            lines.append(
                f"{name:<46}{theirs:>9,}"
                + "".join(f"{c:>9}" for c in cells)
                + "".join(f"{r:>8}" for r in ratios)
                + f"  {step}"
            )
        return "\n".join(lines)
