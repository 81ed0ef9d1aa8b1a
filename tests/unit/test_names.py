"""`node`, `protocols`, `contracts`, `config` are common names: nobody else in the environment may own one of them.

Two distributions that ship the same top-level package overwrite one another on disk, silently. Editable installs and
`.pth` files can also put a folder of that name in front of ours, so what is imported is looked at too.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

OURS = ("node", "protocols", "contracts", "config")
ROOT = Path(__file__).parents[2]


def tops(dist: Distribution) -> set[str]:
    """The top-level names a distribution puts on the path, by its RECORD and its top_level.txt."""
    listed = set((dist.read_text("top_level.txt") or "").split())
    for file in dist.files or []:
        first = file.parts[0]
        if first.endswith((".dist-info", ".data", ".pth")) or first in ("..", "__pycache__"):
            continue
        listed.add(first.split(".", 1)[0])
    return listed


@pytest.mark.parametrize("name", OURS)
def test_no_other_distribution_owns_the_name(name: str) -> None:
    owners = {dist.name for dist in distributions() if name in tops(dist)}
    assert owners <= {"schwung"}, f"{owners - {'schwung'}} also ship the top-level package {name!r}"


@pytest.mark.parametrize("name", OURS)
def test_every_place_on_the_path_that_has_the_name_is_ours(name: str) -> None:
    for place in dict.fromkeys(sys.path):
        spec = PathFinder.find_spec(name, [place or "."])
        if spec is None or spec.origin is None:
            continue
        assert Path(spec.origin).resolve() == ROOT / name / "__init__.py", f"{place or '.'} has another {name!r}"


def test_the_look_itself_finds_an_intruder(tmp_path: Path) -> None:
    info = tmp_path / "intruder-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 1\n")
    (info / "RECORD").write_text("config/__init__.py,,\nnode.py,,\nintruder-1.dist-info/RECORD,,\n../bin/x,,\n")
    (dist,) = distributions(path=[str(tmp_path)])
    assert tops(dist) == {"config", "node"}
