"""Do the books balance? Computed from the chain alone: Transfer logs, balances, and what each contract says it owes.

    every token ever minted = the balances of all who ever held one + what was burnt
    each money contract     : tokens held = open prices, bonds, deposits, credits, … by its own views

All reads are of one block, so a chain in motion can be audited. Slow on purpose: it trusts no running total.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from contracts import blocking
from contracts.abi import Abi
from contracts.artifact import load

ZERO = "0x" + "00" * 20
LOG_RANGE = 10_000  # blocks in one eth_getLogs; public endpoints refuse more


class Account(msgspec.Struct, frozen=True):
    """One money contract: what it holds and what it owes."""

    held_wei: int
    owed_wei: int

    @property
    def exact(self) -> bool:
        return self.held_wei == self.owed_wei


class Books(msgspec.Struct, frozen=True):
    """`supply_wei` was ever minted, `sum_wei` is held now; `solvent`: no contract owes more than it holds."""

    balanced: bool
    solvent: bool
    block: int
    supply_wei: int
    sum_wei: int
    burnt_wei: int
    holders: int
    per_contract: dict[str, Account]


def audit(rpc_url: str, addresses: Mapping[str, str], from_block: int = 0) -> Books:
    """The books at the latest block. `addresses` and `from_block` are the deployment's. Raises RpcFailed."""
    chain = _Snapshot(rpc_url, addresses, from_block)
    transfers = chain.events("token", "Transfer")
    minted = sum(t["value"] for t in transfers if t["from"].lower() == ZERO)
    burnt = sum(t["value"] for t in transfers if t["to"].lower() == ZERO)
    holders = sorted({t[side] for t in transfers for side in ("from", "to")} - {ZERO})
    balances = dict(zip(holders, chain.views("token", "balanceOf", ((h,) for h in holders)), strict=True))
    owed = {"sale": _sale(chain), "bank": _bank(chain), "models": _models(chain), "rewards": _rewards(chain, transfers)}
    owed["stakes"] = _stakes(chain)
    held = dict(zip(owed, chain.views("token", "balanceOf", ((addresses[name],) for name in owed)), strict=True))
    accounts = {name: Account(held[name], owed[name]) for name in owed}
    total = sum(balances.values())
    whole = total + burnt == minted and chain.view("token", "totalSupply") == minted - burnt
    return Books(
        balanced=whole and all(account.exact for account in accounts.values()),
        solvent=whole and all(account.held_wei >= account.owed_wei for account in accounts.values()),
        block=chain.block,
        supply_wei=minted,
        sum_wei=total,
        burnt_wei=burnt,
        holders=len(holders),
        per_contract=accounts,
    )


def _sale(chain: _Snapshot) -> int:
    offers = range(1, chain.view("sale", "offerCount") + 1)
    people = {e["seller"] for e in chain.events("sale", "Offered")}
    people |= {e["buyer"] for e in chain.events("sale", "Locked")}
    people |= {e["reporter"] for e in chain.events("sale", "Misbehaved")}
    by_offer = sum(chain.views("sale", "owedFor", ((offer,) for offer in offers)))  # what is held back is part of it
    credits = sum(chain.views("sale", "credit", ((who,) for who in sorted(people))))
    unburnt = chain.view("sale", "feesDue") + chain.view("sale", "penaltiesDue")
    return int(by_offer + credits + unburnt)


def _bank(chain: _Snapshot) -> int:
    people = {e["payer"] for e in chain.events("bank", "Deposited")}
    people |= {e["payee"] for e in chain.events("bank", "SettledInto")}
    lanes = {(e["payer"], e["payee"], e["lane"]) for e in chain.events("bank", "Reserved")}
    free = sum(account[0] for account in chain.views("bank", "accounts", ((who,) for who in sorted(people))))
    reserved = sum(lane[1] for lane in chain.views("bank", "lanes", sorted(lanes)))
    return int(free + reserved)


def _models(chain: _Snapshot) -> int:
    ids = sorted({e["modelId"] for e in chain.events("models", "Published")})
    return int(sum(chain.views("models", "owedFor", ((model,) for model in ids))) + chain.view("models", "feesDue"))


def _rewards(chain: _Snapshot, transfers: list[dict[str, Any]]) -> int:
    """What is left of the grants, and what is credited but not yet taken."""
    pool = chain.addresses["rewards"].lower()
    granted = sum(t["value"] for t in transfers if t["to"].lower() == pool)
    taken = chain.view("rewards", "rewarded") - chain.view("rewards", "owed")
    return int(granted - taken)


def _stakes(chain: _Snapshot) -> int:
    """Free, leaving and bound stakes, and what slashing earned."""
    people = sorted({e["who"] for e in chain.events("stakes", "Staked")})
    holds = sorted({(e["who"], e["slasher"]) for e in chain.events("stakes", "Bound")})
    winners = sorted({e["to"] for e in chain.events("stakes", "Slashed")})
    own = sum(account[0] + account[1] for account in chain.views("stakes", "accounts", ((who,) for who in people)))
    bound = sum(chain.views("stakes", "bound", holds))
    return int(own + bound + sum(chain.views("stakes", "credit", ((who,) for who in winners))))


class _Snapshot:
    """The suite at one block."""

    CONTRACTS = {
        "token": "SchwungToken",
        "sale": "KeySale",
        "bank": "VoucherBank",
        "models": "ModelRegistry",
        "rewards": "RewardPool",
        "stakes": "StakeVault",
    }

    def __init__(self, rpc_url: str, addresses: Mapping[str, str], from_block: int) -> None:
        self.url = rpc_url
        self.addresses = addresses
        self.first = from_block
        self.block = int(blocking.call(rpc_url, "eth_blockNumber"), 16)
        self.abis = {key: Abi(load(name).abi) for key, name in self.CONTRACTS.items()}

    def view(self, contract: str, function: str, *args: Any) -> Any:
        return self.views(contract, function, [args])[0]

    def views(self, contract: str, function: str, calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        abi, to = self.abis[contract], self.addresses[contract]
        requests = [
            ("eth_call", ({"to": to, "data": "0x" + abi.encode(function, *args).hex()}, hex(self.block)))
            for args in calls
        ]
        raw = blocking.call_many(self.url, requests)
        values = [abi.result(function, bytes.fromhex(answer[2:])) for answer in raw]
        return [value[0] if len(value) == 1 else value for value in values]

    def events(self, contract: str, name: str) -> list[dict[str, Any]]:
        abi = self.abis[contract]
        found = []
        for start in range(self.first, self.block + 1, LOG_RANGE):
            query = {
                "address": self.addresses[contract],
                "topics": ["0x" + abi.topics[name].hex()],
                "fromBlock": hex(start),
                "toBlock": hex(min(start + LOG_RANGE - 1, self.block)),
            }
            for log in blocking.call(self.url, "eth_getLogs", query):
                topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
                event = abi.event(topics, bytes.fromhex(log["data"][2:]))
                assert event is not None  # the filter asked for this topic
                found.append(event[1])
        return found
