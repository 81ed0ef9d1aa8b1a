"""The command line: what is sent, what is printed, which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node.cli import commands, waiting
from node.cli.main import main
from tests.unit.cli.daemon import Refusal, daemon

OFFER = "ab" * 32
HEAVY = (
    "trio", "libp2p", "web3", "lancedb", "onnxruntime", "structlog", "pyarrow", "numpy", "msgspec", "rich",
    "eth_account", "prometheus_client", "starlette",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SCHWUNG_NETWORK", "SCHWUNG_SOCKET", "SCHWUNG_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCHWUNG_DEVNET_DIR", str(tmp_path / "no-devnet"))
    monkeypatch.setenv("SCHWUNG_DATADIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def sock(home: Path) -> Path:
    return home / "devnet" / "node.sock"


def echo(method: str, params: dict[str, Any]) -> Any:
    return {"items": [], "next": None}


@pytest.mark.parametrize(
    ("line", "method", "params"),
    [
        ("status", "node.status", {}),
        ("offers list", "offers.list", {}),
        ("offers list --mine --domain shoes --limit 5", "offers.list", {"mine": True, "domain": "shoes", "limit": 5}),
        ("offers list --no-mine", "offers.list", {"mine": False}),
        (f"deals buy {OFFER} --max-price 3gwei --no-wait", "deals.buy", {"offer": OFFER, "max_price": "3000000000"}),
        (f"deals buy {OFFER} 7 --no-wait", "deals.buy", {"offer": OFFER, "max_price": "7"}),
        (f"deals buy --offer {OFFER} --max-price 7 --no-wait", "deals.buy", {"offer": OFFER, "max_price": "7"}),
        ("wallet deposit 2tok", "wallet.deposit", {"amount": str(2 * 10**18)}),
        ("offers publish reviews Title --filter language=de,min_quality=5", "offers.publish",
         {"domain": "reviews", "title": "Title", "filter": {"language": "de", "min_quality": 5}}),
        ('offers publish reviews Title --filter {"language":"de"}', "offers.publish",
         {"domain": "reviews", "title": "Title", "filter": {"language": "de"}}),
        ("collect add https://example.org/feed --domain news", "collect.add",
         {"source": "https://example.org/feed", "domain": "news"}),
        ("models train reviews retrieval --no-wait", "models.train", {"domain": "reviews", "task": "retrieval"}),
        ("models call m hello", "models.call", {"model": "m", "input": "hello"}),
        ("config get --key market.open_sales", "config.get", {"key": "market.open_sales"}),
        ("rpc offers.list limit=3 mine=true", "offers.list", {"limit": 3, "mine": True}),
        ("rpc rpc.discover", "rpc.discover", {}),
        ("rpc discover", "rpc.discover", {}),
    ],
)  # fmt: skip
def test_a_command_is_one_call(sock: Path, line: str, method: str, params: dict[str, Any]) -> None:
    with daemon(sock, echo) as calls:
        assert main(["--json", *line.split(" ")]) == 0
    assert calls == [(method, params)]


def test_a_path_is_made_whole_for_the_node(sock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with daemon(sock, echo) as calls:
        main(["collect", "add", "texts/*.txt", "--domain", "news"])
    assert calls[0][1]["source"] == str(tmp_path / "texts/*.txt")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("timeout", 4), ("refused", 5), ("wallet_locked", 5), ("insufficient_funds", 6), ("not_found", 1),
        ("invalid_params", 2), ("method_not_found", 2), ("internal", 1),
    ],
)  # fmt: skip
def test_kinds_of_errors_are_exit_codes(sock: Path, kind: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(method: str, params: dict[str, Any]) -> Any:
        raise Refusal(-32012, kind, "it went wrong", "mend it")

    with daemon(sock, refuse):
        assert main(["offers", "list"]) == code
        shown = capsys.readouterr()
        assert (shown.out, shown.err) == ("", "schwung: it went wrong\n  mend it\n")
        assert main(["offers", "list", "--json"]) == code
        assert json.loads(capsys.readouterr().out)["error"]["data"]["kind"] == kind


def test_no_daemon_says_how_to_start_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 3
    assert "schwung run" in capsys.readouterr().err


def test_a_stale_socket_is_no_daemon(sock: Path) -> None:
    with daemon(sock, echo):
        left = sock.with_name("left")
        left.hardlink_to(sock)
    left.rename(sock)
    assert main(["status"]) == 3


def test_a_daemon_that_hangs_is_a_timeout(sock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(sock, lambda method, params: ...):
        assert main(["status", "--timeout", "0.05"]) == 4
    assert "no answer in 0.05 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("offer list", "did you mean 'offers'?"),
        ("offers lst", "invalid choice"),
        ("offers list --frobnicate", "unrecognized"),
        ("deals buy", "deals buy needs offer"),
        (f"deals buy {OFFER} 1.5eur", "is not an amount"),
        ("models train reviews poetry", "invalid choice"),
        ("rpc offers.list limit", "is not key=value"),
        ("--network nowhere status", "known are devnet, testnet"),
        ("wallet create", "--passphrase-file"),
        ("wallet unlock --passphrase-file /no/such", "cannot read the passphrase file"),
    ],
)
def test_mistakes_are_one_sentence(home: Path, line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(line.split(" "))
    assert code == (1 if "nowhere" in line else 2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert len(shown.err.splitlines()) <= 2


def test_a_passphrase_comes_from_a_file_and_never_from_a_flag(sock: Path, tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.write_text("correct horse\nsecond line\n")
    with daemon(sock, echo) as calls:
        assert main(["wallet", "unlock", "--for", "1h", "--passphrase-file", str(file)]) == 0
    assert calls == [("wallet.unlock", {"passphrase": "correct horse", "for": "1h"})]
    assert main(["wallet", "unlock", "hunter2"]) == 2


def test_a_job_is_followed_to_its_end(
    sock: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOOK_S", 0)
    states = iter(["running", "running", "done"])

    def answer(method: str, params: dict[str, Any]) -> Any:
        if method == "collect.add":
            return {"job": "j1"}
        assert (method, params) == ("jobs.get", {"job": "j1"})
        return {
            "job": "j1",
            "state": next(states),
            "done": 1,
            "total": 2,
            "unit": "",
            "note": "",
            "result": {"records": 7},
        }

    with daemon(sock, answer):
        assert main(["collect", "add", "x", "--domain", "d", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == {"records": 7}


def test_a_job_that_fails_fails_the_command(sock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": -32014, "message": "too poor", "data": {"kind": "insufficient_funds", "hint": ""}}

    def answer(method: str, params: dict[str, Any]) -> Any:
        return {"job": "j1"} if method == "collect.add" else {"job": "j1", "state": "failed", "error": error}

    with daemon(sock, answer):
        assert main(["collect", "add", "x", "--domain", "d"]) == 6
    assert "too poor" in capsys.readouterr().err


@pytest.mark.parametrize(("state", "code"), [("settled", 0), ("refunded", 1), ("refused", 5)])
def test_a_purchase_is_followed_to_its_end(sock: Path, state: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_S", 0)
    rows = iter([{"deal": "d", "state": "locked", "over": False}, {"deal": "d", "state": state, "over": True}])

    def answer(method: str, params: dict[str, Any]) -> Any:
        return {"deal": "d", "state": "begun"} if method == "deals.buy" else next(rows)

    with daemon(sock, answer):
        assert main(["deals", "buy", OFFER, "5tok"]) == code


def test_quiet_prints_bare_ids(sock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"offer": "one", "title": "a"}, {"offer": "two", "title": "b"}]
    with daemon(sock, lambda method, params: {"items": rows, "next": None}):
        assert main(["offers", "list", "--quiet"]) == 0
    assert capsys.readouterr().out == "one\ntwo\n"


def test_the_version_and_the_status_import_nothing_heavy(sock: Path) -> None:
    program = f"""
import sys
from node.cli.main import main
codes = [main(["--version"]), main(["status", "--json"])]
print([name for name in {HEAVY!r} if name in sys.modules], codes, file=sys.stderr)
"""
    with daemon(sock, lambda method, params: {"version": "1"}):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[] [0, 0]"
    assert done.stdout.splitlines()[1] == '{"version": "1"}'


def test_what_is_generated_is_that_of_the_code() -> None:
    from node.reference import pages

    for path, text in pages().items():
        assert path.read_text() == text, f"{path.name} is stale: run `make docs`"


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for noun, verbs in commands.document().items():
        for verb in verbs:
            with pytest.raises(SystemExit) as ended:
                commands.parser(noun).parse_args([verb, "--help"])
            assert ended.value.code == 0
    assert "usage: schwung offers list" in capsys.readouterr().out
