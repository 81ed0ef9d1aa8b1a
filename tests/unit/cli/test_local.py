"""Commands that need no running node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.cli.main import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCHWUNG_DEVNET_DIR", str(tmp_path / "no-devnet"))
    monkeypatch.setenv("SCHWUNG_DATADIR", str(tmp_path / "home"))
    return tmp_path / "home"


def test_init_writes_a_config_that_explains_itself_and_only_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"] == str(home / "config.toml")
    text = (home / "config.toml").read_text()
    assert "# open_sales = 4" in text
    (home / "config.toml").write_text(text + "\n")
    assert main(["init"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_config_show_tells_the_origin(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    (home / "config.toml").write_text("[market]\nopen_sales = 3\n")
    assert main(["config", "show", "--origin", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)["items"]}
    assert rows["market.open_sales"] == {
        "key": "market.open_sales",
        "value": 3,
        "origin": str(home / "config.toml"),
    }
    assert rows["refine.min_chars"]["origin"] == "default"


def test_an_unknown_key_names_file_and_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    (home / "config.toml").write_text("[market]\nopne_sales = 3\n")
    assert main(["config", "show"]) == 1
    shown = capsys.readouterr().err
    assert "config.toml" in shown
    assert "market.opne_sales" in shown


def test_config_set_keeps_comments_and_refuses_nonsense(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert main(["config", "set", "market.open_sales", "7"]) == 0
    assert main(["config", "set", "wallet.credit_wei", "1.5tok"]) == 0
    text = (home / "config.toml").read_text()
    assert "# open_sales = 4" in text
    capsys.readouterr()
    main(["config", "show", "--json"])
    values = {row["key"]: row["value"] for row in json.loads(capsys.readouterr().out)["items"]}
    assert (values["market.open_sales"], values["wallet.credit_wei"]) == (7, str(15 * 10**17))
    for key, value in (("market.open_sales", "0"), ("market.opne_sales", "1"), ("markt.x", "1"), ("market", "1")):
        assert main(["config", "set", key, value]) == 1, key
    assert (home / "config.toml").read_text() == text


def test_doctor_says_what_is_wrong_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 1
    checks = {row["name"]: row for row in json.loads(capsys.readouterr().out)["items"]}
    assert checks["settings"]["ok"]
    assert not checks["network"]["ok"]
    assert "devnet up" in checks["network"]["note"]
