"""Named checks of a node, run together under a deadline: `node.health`, `/readyz`, `schwung doctor` show the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import structlog
import trio

log = structlog.get_logger(__name__)

CHECK_S = 5.0  # a check that takes longer is itself the finding


class Unhealthy(Exception):
    """Raised by a check: the message is what is wrong, the hint what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one check. An `advisory` one is a warning: the node does its work all the same."""

    name: str
    ok: bool
    note: str = ""
    hint: str = ""
    advisory: bool = False

    @property
    def fails(self) -> bool:
        """Whether the node cannot do its work."""
        return not self.ok and not self.advisory


Check = Callable[[], Awaitable[str]]  # returns a note such as "14 peers", or raises Unhealthy


class Health:
    """The checks that the services of a node have brought."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._advisory: set[str] = set()

    def add(self, name: str, check: Check, *, advisory: bool = False) -> None:
        """Bring a check; a second one of the same name replaces the first."""
        self._checks[name] = check
        if advisory:
            self._advisory.add(name)

    async def report(self) -> list[Finding]:
        """Run every check at once; sorted by name."""
        findings: list[Finding] = []

        async def one(name: str, check: Check) -> None:
            finding = await _run(name, check)
            findings.append(msgspec.structs.replace(finding, advisory=name in self._advisory))

        async with trio.open_nursery() as nursery:
            for name, check in self._checks.items():
                nursery.start_soon(one, name, check)
        return sorted(findings, key=lambda finding: finding.name)


async def _run(name: str, check: Check) -> Finding:
    try:
        with trio.fail_after(CHECK_S):
            return Finding(name, ok=True, note=await check())
    except Unhealthy as err:
        return Finding(name, ok=False, note=str(err), hint=err.hint)
    except trio.TooSlowError:
        return Finding(name, ok=False, note=f"no answer in {CHECK_S:g} s")
    except Exception as err:  # a border: a broken check is a finding, not the end of the report
        if hasattr(err, "kind"):  # an error of ours says what is wrong and what to do
            return Finding(name, ok=False, note=str(err), hint=str(getattr(err, "hint", "")))
        log.warning("health check failed", check=name, exc_info=True)
        return Finding(name, ok=False, note=f"{type(err).__name__}: {err}")
