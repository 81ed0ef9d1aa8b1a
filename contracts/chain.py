"""The chain as the node sees it: blocks, balances, logs, receipts, and one typed binding for each contract.

    async with open_chain(url, addresses, chain_id) as chain:
        price = await chain.oracle.quote(dataset)
        call = chain.sale.lock(offer, max_price, bx, by)     # a value; node.wallet sends it

Nothing here holds a key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from contracts.abi import Abi
from contracts.artifact import load
from contracts.bindings.bank import VoucherBank
from contracts.bindings.binding import BlockTag, decode_revert, tag
from contracts.bindings.directory import Directory
from contracts.bindings.models import ModelRegistry
from contracts.bindings.oracle import PriceOracle
from contracts.bindings.registry import DataRegistry
from contracts.bindings.reputation import Reputation
from contracts.bindings.rewards import RewardPool
from contracts.bindings.sale import KeySale
from contracts.bindings.stakes import StakeVault
from contracts.bindings.token import SchwungToken
from contracts.errors import BadReply, Reverted, RpcError, WrongChain
from contracts.rpc import TIMEOUT_S, ChainRpc, open_rpc
from contracts.values import Block, Call, Log, Receipt, field, hex_bytes, number, parse_block

__all__ = ["Block", "Call", "Chain", "Log", "Receipt", "open_chain"]


class Chain:
    """Typed access to one network's contracts over one endpoint."""

    def __init__(self, rpc: ChainRpc, addresses: Mapping[str, str], chain_id: int) -> None:
        self.rpc = rpc
        self.chain_id = chain_id
        self.addresses = dict(addresses)
        self.token = SchwungToken(rpc, addresses["token"], _abi("SchwungToken"))
        self.registry = DataRegistry(rpc, addresses["registry"], _abi("DataRegistry"))
        self.oracle = PriceOracle(rpc, addresses["oracle"], _abi("PriceOracle"))
        self.sale = KeySale(rpc, addresses["sale"], _abi("KeySale"))
        self.bank = VoucherBank(rpc, addresses["bank"], _abi("VoucherBank"))
        self.models = ModelRegistry(rpc, addresses["models"], _abi("ModelRegistry"))
        self.rewards = RewardPool(rpc, addresses["rewards"], _abi("RewardPool"))
        self.stakes = StakeVault(rpc, addresses["stakes"], _abi("StakeVault"))
        self.reputation = Reputation(rpc, addresses["reputation"], _abi("Reputation"))
        self.directory = Directory(rpc, addresses["directory"], _abi("Directory"))
        bindings = [
            self.token,
            self.registry,
            self.oracle,
            self.sale,
            self.bank,
            self.models,
            self.rewards,
            self.stakes,
            self.reputation,
            self.directory,
        ]
        self._abis = {binding.address.lower(): binding.abi for binding in bindings}
        self._genesis = ""

    async def check(self) -> None:
        """Raises WrongChain when the endpoint serves another chain id, or when our contracts are not there."""
        codes = await self.rpc.batch([("eth_getCode", (address, "latest")) for address in self.addresses.values()])
        bare = [name for name, code in zip(self.addresses, codes, strict=True) if len(hex_bytes(code)) == 0]
        if bare:
            raise WrongChain(f"{self.rpc.name} has no code at the addresses of {', '.join(bare)}")

    async def block_number(self) -> int:
        return number(await self.rpc.call("eth_blockNumber"))

    async def block(self, which: BlockTag = "latest") -> Block | None:
        """A block by number or tag; None when the chain is not that long."""
        plain = await self.rpc.call("eth_getBlockByNumber", tag(which), False)
        return None if plain is None else parse_block(plain)

    async def block_hash(self, which: BlockTag) -> str | None:
        """The block's hash as hex; None when the chain is not that long."""
        found = await self.block(which)
        return None if found is None else found.hash

    async def block_hashes(self, numbers: Sequence[int]) -> list[str | None]:
        """The hashes of several blocks in one round trip."""
        calls = [("eth_getBlockByNumber", (hex(one), False)) for one in numbers]
        return [None if plain is None else field(plain, "hash") for plain in await self.rpc.batch(calls)]

    async def genesis(self) -> str:
        """The hash of block 0: which chain this is, beyond its id. A devnet that was reset has another one."""
        if not self._genesis:
            self._genesis = await self.block_hash(0) or ""
        return self._genesis

    async def timestamp(self) -> int:
        """The newest block's time, in UTC seconds."""
        found = await self.block()
        if found is None:
            raise BadReply("the chain endpoint has no newest block")
        return found.timestamp

    async def native_balance(self, account: str, block: BlockTag = "latest") -> int:
        """What `account` has to pay gas with, in wei."""
        return number(await self.rpc.call("eth_getBalance", account, tag(block)))

    async def nonce(self, account: str, block: BlockTag = "pending") -> int:
        """How many transactions of `account` the endpoint has seen."""
        return number(await self.rpc.call("eth_getTransactionCount", account, tag(block)))

    async def logs(self, *, addresses: Sequence[str], topics: Sequence[Any] = (), first: int, last: int) -> list[Log]:
        """The logs of blocks `first`…`last`, decoded by our ABIs. `topics` as in eth_getLogs."""
        query = {"fromBlock": hex(first), "toBlock": hex(last), "address": list(addresses), "topics": list(topics)}
        return [self.decode_log(plain) for plain in await self.rpc.call("eth_getLogs", query)]

    def decode_log(self, plain: Mapping[str, Any]) -> Log:
        """A JSON-RPC log as a `Log`; its name stays empty when it is not one of our contracts' events."""
        topics = tuple(field(plain, "topics"))
        address, data = field(plain, "address"), field(plain, "data")
        abi = self._abis.get(address.lower())
        found = abi.event([hex_bytes(topic) for topic in topics], hex_bytes(data)) if abi else None
        name, args = found or ("", {})
        return Log(
            address=self._spelling(address),
            name=name,
            args=args,
            block=number(field(plain, "blockNumber")),
            block_hash=field(plain, "blockHash"),
            transaction=field(plain, "transactionHash"),
            index=number(field(plain, "logIndex")),
            topics=topics,
            data=data,
        )

    def _spelling(self, address: str) -> str:
        return next((known for known in self.addresses.values() if known.lower() == address.lower()), address)

    async def knows(self, transaction: str) -> bool:
        """Whether the endpoint has a transaction, mined or waiting."""
        return await self.rpc.call("eth_getTransactionByHash", transaction) is not None

    async def receipt(self, transaction: str) -> Receipt | None:
        """The receipt of a mined transaction, or None while it is not mined."""
        plain = await self.rpc.call("eth_getTransactionReceipt", transaction)
        return None if plain is None or plain.get("blockNumber") is None else self.parse_receipt(plain)

    def parse_receipt(self, plain: Mapping[str, Any]) -> Receipt:
        """A JSON-RPC receipt of a mined transaction. Raises BadReply."""
        return Receipt(
            hash=field(plain, "transactionHash"),
            block=number(field(plain, "blockNumber")),
            block_hash=field(plain, "blockHash"),
            ok=field(plain, "status") == "0x1",
            gas_used=number(field(plain, "gasUsed")),
            effective_gas_price=number(plain.get("effectiveGasPrice") or "0x0"),
            logs=tuple(self.decode_log(log) for log in field(plain, "logs")),
            sender=plain.get("from") or "",
            to=plain.get("to") or "",
        )

    async def simulate(self, call: Call, sender: str, block: BlockTag = "latest") -> bytes:
        """Run a write without sending it; the returned bytes. Raises Reverted with the custom error's name."""
        request = {"from": sender, "to": call.to, "data": "0x" + call.data.hex(), "value": hex(call.value)}
        try:
            return hex_bytes(await self.rpc.call("eth_call", request, tag(block)))
        except RpcError as err:
            raise self.revert(err) or err from None

    async def estimate(self, call: Call, sender: str) -> int:
        """The gas a write would take. Raises Reverted with the custom error's name."""
        request = {"from": sender, "to": call.to, "data": "0x" + call.data.hex(), "value": hex(call.value)}
        try:
            return number(await self.rpc.call("eth_estimateGas", request))
        except RpcError as err:
            raise self.revert(err) or err from None

    def describe(self, to: str, data: bytes) -> str:
        """A call for people: "bank.settle", "transfer of coins", or the address and selector of a stranger's."""
        name = next((known for known, address in self.addresses.items() if address.lower() == to.lower()), to)
        abi = self._abis.get(to.lower())
        function = abi.function_of(data) if abi else ""
        if not data:
            return f"coins to {name}"
        return f"{name}.{function or '0x' + data[:4].hex()}"

    def revert(self, err: RpcError) -> Reverted | None:
        """The revert that an endpoint's error stands for, or None when it is another trouble."""
        return decode_revert(err, list(self._abis.values()))


@asynccontextmanager
async def open_chain(
    endpoints: str | Sequence[str], addresses: Mapping[str, str], chain_id: int, *, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[Chain]:
    """Connect, compare the chain id and look for the contracts' code. Raises RpcUnavailable or WrongChain."""
    async with open_rpc(endpoints, chain_id=chain_id, timeout_s=timeout_s) as rpc:
        chain = Chain(rpc, addresses, chain_id)
        await chain.check()
        yield chain


def _abi(name: str) -> Abi:
    return Abi(load(name).abi)
