"""Settings: who wins, where it came from, and what is refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from config.errors import ConfigError, NetworkUnfilled, UnknownNetwork
from config.loader import Loaded, load_settings, plain, require_filled
from config.networks import folder_name
from config.profile import CONTRACTS
from config.settings import SECTIONS, reason
from config.template import render

ROOT = Path(__file__).parents[3]
FILLED = """
name = "garden"
network_id = "garden-1"
topic_prefix = "/schwung/garden"
[chain]
id = 5
rpc = ["http://127.0.0.1:1"]
[contracts]
""" + "\n".join(f'{name} = "0x{"11" * 20}"' for name in CONTRACTS)


@pytest.fixture(autouse=True)
def _no_devnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHWUNG_DEVNET_DIR", str(tmp_path / "no-devnet"))


def load(tmp_path: Path, *, environ: dict[str, str] | None = None, **flags: object) -> Loaded:
    overrides = {key.replace("__", "."): value for key, value in flags.items()}
    return load_settings(tmp_path, overrides=overrides, environ=environ or {})


def test_each_source_wins_over_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[network]\nmax_peers = 10\n[market]\nopen_sales = 3\n")
    loaded = load(
        tmp_path,
        environ={"SCHWUNG_MARKET__OPEN_SALES": "4", "SCHWUNG_LOG__LEVEL": "debug"},
        log__level="error",
    )
    settings, origins = loaded.settings, loaded.origins
    assert settings.network.listen == ("/ip4/127.0.0.1/tcp/0",)
    assert origins["network.listen"].endswith("devnet.toml")
    assert settings.network.max_peers == 10
    assert origins["network.max_peers"] == str(tmp_path / "config.toml")
    assert settings.market.open_sales == 4
    assert origins["market.open_sales"] == "environment SCHWUNG_MARKET__OPEN_SALES"
    assert settings.log.level == "error"
    assert origins["log.level"] == "flag log.level"
    assert origins["chain.timeout_s"] == "default"


def test_everything_wrong_is_told_at_once_with_its_source(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[network]\nlistn = []\nmax_peers = 0\n[markt]\nx = 1\n[log]\nlevel = 5\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={"SCHWUNG_CONSOLE__PORT": "70000"})
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    for key in ("network.listn", "'markt'", "network.max_peers", "log.level", "console.port"):
        assert any(key in line for line in lines), key
    assert sum(line.startswith(str(config)) for line in lines) == 4
    assert any("SCHWUNG_CONSOLE__PORT" in line and "65535" in line for line in lines)


def test_an_unknown_environment_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SCHWUNG_NETWORK__LISTN"):
        load(tmp_path, environ={"SCHWUNG_NETWORK__LISTN": "x"})


def test_texts_become_lists_tables_amounts_and_bools(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        environ={
            "SCHWUNG_NETWORK__BOOTSTRAP": "/ip4/127.0.0.1/tcp/1, /ip4/127.0.0.1/tcp/2",
            "SCHWUNG_LOG__AREAS": '{"node.market": "debug"}',
            "SCHWUNG_WALLET__CREDIT_WEI": "0.5tok",
            "SCHWUNG_REFINE__REDACT": "false",
        },
    ).settings
    assert settings.network.bootstrap == ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2")
    assert settings.log.areas == {"node.market": "debug"}
    assert settings.wallet.credit_wei == 5 * 10**17
    assert settings.refine.redact is False


def test_an_amount_in_the_config_file_may_be_beyond_64_bits(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[wallet]\nmax_spend_wei = "20000000000000000000"\n')
    assert load(tmp_path).settings.wallet.max_spend_wei == 2 * 10**19


@pytest.mark.parametrize("text", ['"1.5x"', "1.5", "true"])
def test_what_is_no_amount_names_the_key(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(f"[wallet]\nmax_spend_wei = {text}\n")
    with pytest.raises(ConfigError, match=r"wallet\.max_spend_wei"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"[network\n", b"\xff\xfe"])
def test_a_broken_config_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load(tmp_path)


def test_an_unknown_network_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "garden.toml").write_text(FILLED)
    with pytest.raises(UnknownNetwork, match="known are devnet, garden, testnet"):
        load_settings(tmp_path, "mainnet", environ={})
    assert load_settings(tmp_path, "garden", environ={}).settings.profile.chain.id == 5


def test_a_network_file_may_be_given_by_path(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text(FILLED)
    loaded = load_settings(tmp_path, str(path), environ={})
    require_filled(loaded.settings.profile, str(path))
    assert folder_name(str(path), tmp_path) == "garden"
    with pytest.raises(UnknownNetwork, match="there is no network file"):
        load_settings(tmp_path, str(tmp_path / "h.toml"), environ={})


def test_an_unknown_key_in_a_network_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text('topc = "x"\n' + FILLED)
    with pytest.raises(ConfigError, match=r"g\.toml.*topc"):
        load_settings(tmp_path, str(path), environ={})
    path.write_text(FILLED + "\n[settings.network]\nmax_pers = 3\n")
    with pytest.raises(ConfigError, match=r"g\.toml.*network\.max_pers"):
        load_settings(tmp_path, str(path), environ={})


@pytest.mark.parametrize(("network", "words"), [("testnet", r"chain\.id.*contracts\.rewards"), ("devnet", "devnet up")])
def test_a_template_is_no_network(tmp_path: Path, network: str, words: str) -> None:
    loaded = load_settings(tmp_path, network, environ={})
    with pytest.raises(NetworkUnfilled, match=words):
        require_filled(loaded.settings.profile, network)


def test_a_running_devnet_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = tmp_path / "running"
    running.mkdir()
    (running / "devnet.toml").write_text(FILLED.replace("garden", "devnet"))
    monkeypatch.setenv("SCHWUNG_DEVNET_DIR", str(running))
    assert load_settings(tmp_path, environ={}).settings.profile.chain.id == 5


def test_the_template_of_the_config_file_is_valid_and_whole(tmp_path: Path) -> None:
    text = render()
    assert tomllib.loads(text) == {section: {} for section in SECTIONS}
    for kind in SECTIONS.values():
        assert all(f"\n# {key} = " in text for key in kind.__struct_fields__)
    (tmp_path / "config.toml").write_text(text)
    assert load(tmp_path) == load(tmp_path / "empty")


def test_the_defaults_written_out_are_read_back_the_same(tmp_path: Path) -> None:
    settings = load(tmp_path).settings
    flags = {f"{section}.{key}": value for section, keys in plain(settings).items() for key, value in keys.items()}
    assert load_settings(tmp_path, overrides=flags, environ={}).settings == settings


def test_every_setting_has_a_reason() -> None:
    for section, kind in SECTIONS.items():
        for key in kind.__struct_fields__:
            assert len(reason(section, key)) > 10, f"{section}.{key}"


def test_every_setting_is_read_by_somebody() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "node").rglob("*.py"))
    for section, kind in SECTIONS.items():
        for key in kind.__struct_fields__:
            assert re.search(rf"\.{key}\b", code), f"nobody reads {section}.{key}: a setting without effect is a lie"


def test_a_directory_stands_for_the_other_contracts(tmp_path: Path) -> None:
    lines = [line for line in FILLED.splitlines() if not line.startswith(("bank", "sale", "models"))]
    path = tmp_path / "g.toml"
    path.write_text("\n".join(lines))
    profile = load_settings(tmp_path, str(path), environ={}).settings.profile
    assert profile.contracts.bank == ""
    require_filled(profile, str(path))
    path.write_text("\n".join(line for line in lines if not line.startswith("directory")))
    with pytest.raises(NetworkUnfilled, match=r"contracts\.sale.*contracts\.directory"):
        require_filled(load_settings(tmp_path, str(path), environ={}).settings.profile, str(path))
