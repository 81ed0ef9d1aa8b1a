"""A daemon as its operator meets it: a process, a socket, signals, trouble."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from contracts.anvil import start_anvil
from node.cli.errors import CliError
from node.cli.main import main
from node.devnet.chain import DevChain
from node.devnet.devnet import Devnet
from node.devnet.errors import NotADevnet
from node.devnet.nodes import schwung
from node.devnet.places import BOOTSTRAP
from tests.support.daemon import call

pytestmark = [pytest.mark.chain, pytest.mark.e2e]


@pytest.fixture
def cli(devnet: Devnet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`cli("node1", "status")` → (exit code, JSON document, stderr)."""
    monkeypatch.setenv("SCHWUNG_DEVNET_DIR", str(devnet.places.root))

    def run(name: str, *words: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        paths = devnet.places.node(name)
        code = main(["--json", "--datadir", str(paths.datadir), "--socket", str(paths.socket), *words])
        shown = capsys.readouterr()
        return code, json.loads(shown.out), shown.err

    return run


def start_again(devnet: Devnet, name: str, *words: str) -> subprocess.Popen[str]:
    """A daemon on a node's folder, started by hand."""
    paths = devnet.places.node(name)
    command = [*schwung(), "run", "--datadir", str(paths.datadir), "--network", str(devnet.places.network_file)]
    return subprocess.Popen(
        [*command, "--socket", str(paths.socket), *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_the_home_screen_has_what_scripts_depend_on(devnet: Devnet, cli: Any) -> None:
    code, status, _ = cli(BOOTSTRAP, "status")
    assert code == 0
    assert {"version", "network", "peer_id", "address", "listen", "peers", "shard", "wallet", "chain"} <= set(status)
    assert status["reachability"] == status["reach"]["state"] in ("public", "private", "unknown")
    assert status["chain"]["id"] == 31_337
    assert status["chain"]["block"] > 0
    assert status["shard"]["records"] >= 0
    assert status["wallet"]["locked"] is True


def test_the_files_of_a_node_are_private(devnet: Devnet) -> None:
    paths = devnet.places.node(BOOTSTRAP)
    for private in (paths.socket, paths.identity, paths.journal, paths.lock):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600, private
    assert stat.S_IMODE(paths.root.stat().st_mode) == 0o700


def test_a_line_through_a_plain_socket_is_enough(devnet: Devnet) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(devnet.places.node(BOOTSTRAP).socket))
        sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}\n')
        sock.shutdown(socket.SHUT_WR)  # as `nc -N -U` does
        with sock.makefile() as lines:
            document = json.loads(lines.readline())["result"]
    names = {method["name"] for method in document["methods"]}
    assert {"node.status", "offers.publish", "deals.buy", "models.call", "events.subscribe"} <= names
    assert document["openrpc"]


def test_a_second_daemon_on_the_folder_is_refused(devnet: Devnet) -> None:
    pid = devnet.processes.running()[BOOTSTRAP]
    second = start_again(devnet, BOOTSTRAP)
    _, words = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"another node (pid {pid}) runs on" in words
    assert call(devnet, BOOTSTRAP, "node.status")["peer_id"]


def test_a_port_in_use_is_one_sentence(devnet: Devnet) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        paths = devnet.places.node("unlucky")
        paths.create()
        second = start_again(devnet, "unlucky", "--set", f"network.listen=/ip4/127.0.0.1/tcp/{port}")
        _, words = second.communicate(timeout=60)
    assert second.returncode == 1
    assert str(port) in words
    assert "Traceback" not in words


def test_a_network_key_that_cannot_be_used_is_one_sentence(devnet: Devnet, tmp_path: Path) -> None:
    devnet.places.node("secretive").create()
    (tmp_path / "swarm.key").write_text("0123456789abcdef" * 4)
    second = start_again(devnet, "secretive", "--set", f"network.private_key={tmp_path / 'swarm.key'}")
    _, error = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "swarm.key: not three lines: /key/swarm/psk/1.0.0/, /base16/, 64 hex digits" in error
    assert "openssl rand" in error
    assert "Traceback" not in error


def test_a_chain_that_is_gone_is_one_sentence(devnet: Devnet) -> None:
    devnet.places.node("lonely").create()
    second = start_again(devnet, "lonely", "--set", "chain.rpc=http://127.0.0.1:1")
    _, words = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "127.0.0.1:1" in words
    assert "Traceback" not in words


def test_a_signal_ends_it_in_good_order(devnet: Devnet) -> None:
    devnet.places.node("brief").create()
    paths = devnet.places.node("brief")
    process = start_again(devnet, "brief")
    assert process.stderr is not None
    with process:
        assert any(line.startswith("ready in ") for line in process.stderr)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        words = process.stderr.read()
        assert process.wait(20) == 0
    assert time.monotonic() - began < 12
    assert "stopped" in words
    assert "Traceback" not in words
    assert not paths.socket.exists()


def test_stop_ends_it_and_waits(devnet: Devnet, cli: Any) -> None:
    devnet.add("short")
    code, answer, _ = cli("short", "stop")
    assert (code, answer) == (0, {"stopping": True})
    assert cli("short", "status")[0] == 3


def test_after_a_kill_it_starts_again_as_the_same_peer(devnet: Devnet) -> None:
    before = devnet.add("cat")
    devnet.kill("cat")
    assert devnet.places.node("cat").socket.exists()  # stale: nobody tidied up
    after = devnet.add("cat")
    assert (after["peer_id"], after["address"]) == (before["peer_id"], before["address"])


def test_a_wallet_is_made_once_and_opens_with_its_passphrase_only(devnet: Devnet, cli: Any, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for file, word in ((right, "correct horse\n"), (wrong, "battery staple\n")):
        file.write_text(word)
        file.chmod(0o600)
    code, made, _ = cli(BOOTSTRAP, "wallet", "create", "--passphrase-file", str(right))
    assert code == 0
    assert made["address"].startswith("0x")
    assert cli(BOOTSTRAP, "wallet", "create", "--passphrase-file", str(right))[0] != 0
    assert cli(BOOTSTRAP, "wallet", "unlock", "--passphrase-file", str(wrong))[0] == 5
    assert cli(BOOTSTRAP, "wallet", "unlock", "--for", "1h", "--passphrase-file", str(right))[0] == 0
    assert cli(BOOTSTRAP, "status")[1]["wallet"]["locked"] is False
    assert cli(BOOTSTRAP, "wallet", "deposit", "1tok")[0] == 6  # unlocked, and without any money
    assert cli(BOOTSTRAP, "wallet", "lock")[0] == 0
    assert cli(BOOTSTRAP, "wallet", "deposit", "1tok")[0] == 5


def test_what_does_not_exist_is_said_so(devnet: Devnet, cli: Any) -> None:
    for words in (
        ("offers", "get", "ab" * 32),
        ("deals", "get", "ab" * 32),
        ("records", "get", "x"),
        ("jobs", "get", "x"),
    ):
        code, answer, _ = cli(BOOTSTRAP, *words)
        assert code == 1, words
        assert answer["error"]["code"] == -32011, answer


def test_sources_that_cannot_be_read_are_explained(devnet: Devnet, cli: Any, tmp_path: Path) -> None:
    empty, foreign, missing = tmp_path / "empty", tmp_path / "foreign.txt", tmp_path / "missing"
    empty.mkdir()
    foreign.write_bytes("größer".encode("latin-1"))
    for source, words in ((empty, "no file"), (foreign, "is not UTF-8"), (missing, "check the path")):
        code, answer, shown = cli(BOOTSTRAP, "collect", "add", str(source), "--domain", "x", "--licence", "CC0-1.0")
        assert code == 1, answer
        assert words in answer["error"]["message"]
        assert len(shown.splitlines()) <= 2


def test_a_broken_line_is_counted_and_the_rest_is_kept(devnet: Devnet, cli: Any, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text('{"text": "A dress that fits well and keeps its colour after washing."}\n{"text": broken\n')
    code, job, _ = cli(BOOTSTRAP, "collect", "add", str(mixed), "--domain", "x", "--licence", "CC0-1.0")
    assert code == 0
    assert job["result"]["records"] == 1
    assert job["result"]["rejected"] == {"malformed": 1}


def test_everybody_on_the_machine_meets_the_bootstrap_node(devnet: Devnet) -> None:
    devnet.add("cat")
    peer = call(devnet, BOOTSTRAP, "node.status")["peer_id"]
    assert peer in {row["peer"] for row in call(devnet, "cat", "peers.list")["items"]}
    assert call(devnet, "cat", "peers.ping", peer=peer)["ms"] < 5_000
    with pytest.raises(CliError) as refused:
        call(
            devnet, "cat", "peers.add", addr="/ip4/127.0.0.1/tcp/1/p2p/" + peer[:-1] + ("x" if peer[-1] != "x" else "y")
        )
    assert refused.value.error["code"] != -32603


def test_money_goes_to_devnets_only(devnet: Devnet, cli: Any) -> None:
    assert cli(BOOTSTRAP, "devnet", "fund", "0x123")[0] == 2
    with start_anvil(chain_id=1) as mainnet, pytest.raises(NotADevnet, match="serves chain 1"):
        DevChain(mainnet.rpc_url).fund("0x" + "11" * 20, "0x" + "22" * 20, native_wei=1, token_wei=1)


def test_a_node_outlives_its_chain_and_says_so(devnet: Devnet, cli: Any) -> None:
    devnet.kill("chain")
    try:
        code, status, _ = cli(BOOTSTRAP, "status")
        assert code == 0
        assert (status["chain"]["id"], status["chain"]["block"]) == (31_337, None)
        assert any(line.startswith("chain: ") for line in status["warnings"])
        code, health, _ = cli(BOOTSTRAP, "node", "health")
        assert {row["name"]: row["ok"] for row in health["items"]}["chain"] is False
    finally:
        devnet.up(0)
    assert cli(BOOTSTRAP, "status")[1]["chain"]["block"] is not None


def test_the_devnet_starts_again_with_its_state(devnet: Devnet) -> None:
    address = call(devnet, "cat", "node.status")["address"]
    peer, block = call(devnet, BOOTSTRAP, "node.status")["peer_id"], devnet.status()["chain"]["block"]
    port = urlsplit(devnet.rpc()).port
    devnet.down()
    assert devnet.processes.running() == {}
    with socket.socket() as taken:  # by somebody else, meanwhile
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        (bootstrap,) = devnet.up(0)
    assert urlsplit(devnet.rpc()).port != port
    assert bootstrap["peer_id"] == peer
    assert bootstrap["chain"]["block"] >= block
    assert int(DevChain(devnet.rpc()).call("eth_getBalance", address, "latest"), 16) > 0
