"""A payer killed again and again at random moments still makes each payment exactly once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import spender
from tests.support.accounts import wallet_of
from tests.support.money import fresh_suite, suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

KILLS = 40
PAYMENTS = 400


@pytest.mark.chain
@pytest.mark.slow
def test_random_kills_lose_and_repeat_nothing(suite: Suite, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    arguments = [suite.anvil.rpc_url, json.dumps(suite.addresses), str(suite.deployment.chain_id), str(tmp_path)]
    command = [sys.executable, "-m", "tests.support.spender", *arguments, "", str(PAYMENTS)]
    killed = 0
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it has begun to pay
            try:
                process.wait(chance.uniform(0.0, 0.4))
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0
    assert killed >= KILLS // 2, "too few kills hit: raise PAYMENTS"
    assert suite.view("token", "balanceOf", spender.RECEIVER) == PAYMENTS * spender.AMOUNT
    assert int(suite.anvil.call("eth_getTransactionCount", wallet_of("alice").address, "latest"), 16) == PAYMENTS
