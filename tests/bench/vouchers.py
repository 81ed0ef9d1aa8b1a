"""Vouchers a second on one core, ours beside eth-account's in the same run: `python -m tests.bench.vouchers`.

CPU time of the process, best of several rounds, the two sides taking turns, so that other load cancels out.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import coincurve
from eth_account import Account
from eth_account.messages import encode_typed_data

from protocols import eip712
from protocols.ids import Address, checksum
from protocols.voucher import Voucher, sign_voucher, verify_voucher, voucher_domain

ROUNDS = 5
OURS, THEIRS = 5_000, 200  # repetitions a round
CHAIN_ID, LANE = 31337, 7
BANK, PAYEE = checksum(b"\x33" * 20), checksum(b"\x22" * 20)
KEY = coincurve.PrivateKey(b"\x11" * 32)
ACCOUNT = Account.from_key(KEY.secret)
PAYER = eip712.address_of(KEY.public_key)
DOMAIN = voucher_domain(CHAIN_ID, BANK)

TYPED = {
    "types": {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "chainId", "type": "uint256"},
            {"name": "verifyingContract", "type": "address"},
        ],
        "Voucher": [
            {"name": "payer", "type": "address"},
            {"name": "payee", "type": "address"},
            {"name": "lane", "type": "uint64"},
            {"name": "cumulative", "type": "uint96"},
        ],
    },
    "primaryType": "Voucher",
    "domain": {"name": "VoucherBank", "version": "1", "chainId": CHAIN_ID, "verifyingContract": BANK},
}


def our_sign(place: int) -> Voucher:
    return sign_voucher(KEY, DOMAIN, PAYER, PAYEE, LANE, 10**18 + place)


def our_verify(voucher: Voucher) -> Address:
    return verify_voucher(voucher, DOMAIN)


def message(place: int) -> object:
    sums = {"payer": PAYER, "payee": PAYEE, "lane": LANE, "cumulative": 10**18 + place}
    return encode_typed_data(full_message={**TYPED, "message": sums})


def their_sign(place: int) -> bytes:
    return bytes(ACCOUNT.sign_message(message(place)).signature)


def their_verify(place: int, signature: bytes) -> str:
    return str(Account.recover_message(message(place), signature=signature))


def rate(work: Callable[[int], object], count: int) -> float:
    """Calls a second of CPU time."""
    start = time.process_time()
    for place in range(count):
        work(place)
    return count / (time.process_time() - start)


def main() -> int:
    ours = [our_sign(place) for place in range(OURS)]
    theirs = [their_sign(place) for place in range(THEIRS)]
    for place in range(THEIRS):  # the same bytes: r, s, and the parity in EIP-2098's place
        r, s, v = eip712.rsv(ours[place].signature)
        assert r + s + bytes([v]) == theirs[place]
        assert our_verify(ours[place]) == their_verify(place, theirs[place]) == PAYER
    best = dict.fromkeys(("sign", "verify", "eth_account_sign", "eth_account_verify"), 0.0)
    for _ in range(ROUNDS):
        best["sign"] = max(best["sign"], rate(our_sign, OURS))
        best["eth_account_sign"] = max(best["eth_account_sign"], rate(their_sign, THEIRS))
        best["verify"] = max(best["verify"], rate(lambda place: our_verify(ours[place]), OURS))
        best["eth_account_verify"] = max(
            best["eth_account_verify"], rate(lambda place: their_verify(place, theirs[place]), THEIRS)
        )
    print(f"{'vouchers a second, one core':30}{'ours':>10}{'eth-account':>14}{'ratio':>8}")
    for what in ("sign", "verify"):
        mine, peer = best[what], best[f"eth_account_{what}"]
        print(f"{what:30}{mine:>10,.0f}{peer:>14,.0f}{mine / peer:>7.0f}x")
    print(json.dumps({"bench": "vouchers", **{name: round(value) for name, value in best.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
