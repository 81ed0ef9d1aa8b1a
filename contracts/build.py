"""Compile the contracts and write `contracts/artifacts/*.json` (`python -m contracts.build [--check]`).

Needs node and `npm ci` in `contracts/`. The result depends on the sources, the locked compiler and the locked libraries
only: no metadata hash, no paths, no time. `--check` compares instead of writing and fails on a difference.

BuildError: something is missing or does not compile
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from contracts.artifact import NAMES, source_hash

HERE = Path(__file__).parent
SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 1000},
    "evmVersion": "cancun",
    "viaIR": False,
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
}
TIMEOUT_S = 300


class BuildError(Exception):
    """Nothing was written; the message says what to do."""


def build(here: Path = HERE) -> dict[str, dict[str, Any]]:
    """All artifacts by name, as they stand in the files. Raises BuildError."""
    output = _compile(here)
    libraries = {"@openzeppelin/contracts": _version(here, "@openzeppelin/contracts")}
    made = {}
    for name in NAMES:
        contract = output["contracts"][f"src/{name}.sol"][name]
        made[name] = {
            "name": name,
            "compiler": f"solc {_version(here, 'solc')}",
            "settings": SETTINGS,
            "libraries": libraries,
            "source_hash": source_hash(here / "src", name),
            "abi": contract["abi"],
            "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
        }
    return made


def render(artifact: dict[str, Any]) -> str:
    """The file's text: stable order, one line per value, so that a diff shows what changed."""
    return json.dumps(artifact, indent=1, sort_keys=True) + "\n"


def _version(here: Path, package: str) -> str:
    manifest = here / "node_modules" / package / "package.json"
    if not manifest.is_file():
        raise BuildError(
            f"{package} is not installed: run `npm ci --ignore-scripts --no-audit --no-fund` in {here.name}/"
        )
    version: str = json.loads(manifest.read_text("utf-8"))["version"]
    return version


def _compile(here: Path) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        raise BuildError("node is not on the PATH: install Node.js 20 or newer")
    _version(here, "solc")
    sources = {f"src/{p.name}": {"content": p.read_text("utf-8")} for p in sorted((here / "src").glob("*.sol"))}
    request = {
        "language": "Solidity",
        "sources": sources,
        "settings": SETTINGS | {"outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}}},
    }
    done = subprocess.run(
        [node, "bin/solc", "--standard-json"],
        cwd=here,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"bin/solc failed: {done.stderr.strip()[-500:]}")
    output: dict[str, Any] = json.loads(done.stdout)
    problems = [e["formattedMessage"] for e in output.get("errors", ()) if e["severity"] == "error"]
    if problems:
        raise BuildError("\n".join(problems))
    return output


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="contracts.build", description="Compile the contracts into artifacts.")
    parser.add_argument("--check", action="store_true", help="compare with the committed artifacts, write nothing")
    args = parser.parse_args(argv)
    try:
        made = build()
    except BuildError as err:
        print(err, file=sys.stderr)
        return 1
    stale = []
    for name, artifact in made.items():
        path = HERE / "artifacts" / f"{name}.json"
        text = render(artifact)
        if not path.is_file() or path.read_text("utf-8") != text:
            stale.append(name)
            if not args.check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
    verb = "differ" if args.check else "written"
    print(f"{len(made)} contracts compiled; {verb}: {', '.join(stale) or 'none'}")
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
