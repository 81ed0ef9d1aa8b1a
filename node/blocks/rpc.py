"""Blocks kept by an external IPFS daemon, through its RPC API (`/api/v0`) and ipfshttpclient.

`Client(address)` is used, never `connect()`: that one refuses every daemon newer than the client. The client blocks,
so its calls run in a few threads of their own.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any, TypeVar

import ipfshttpclient
import trio
from ipfshttpclient import exceptions

from node.blocks.cids import DAG_PB, canonical, codec_of
from node.blocks.dag import decode_block, root_of
from node.blocks.errors import BadBlock, BlocksError, DaemonUnreachable, NotFound, TooLarge
from node.blocks.outline import leaves_of_file, outline_of
from protocols.errors import BadIdentifier
from protocols.ids import Cid, PeerId
from protocols.payload import LEAF_BYTES

T = TypeVar("T")
THREADS = 4
CONTROL_S = 20.0  # pinning and listing
HERE_S = 2.0  # one block of the daemon's own disk; js-ipfs ignores "offline" and would wait for one that is not there
ADD_S = 300.0


class IpfsRpcBlocks:
    """`Blocks` at a daemon. Made by `open_rpc`."""

    def __init__(self, address: str, client: Any) -> None:
        self._address = address
        self._client = client
        self._limiter = trio.CapacityLimiter(THREADS)

    async def add(self, data: bytes) -> Cid:
        """Add and pin; the daemon's CID must be the one we computed."""
        mine = await self._thread(lambda: root_of(data))
        return self._same(await self._call(lambda: self._add(io.BytesIO(data))), mine)

    async def add_file(self, path: Path) -> Cid:
        """Add and pin a file without holding it; the daemon's CID must be the one we computed."""
        if await self._thread(lambda: path.stat().st_size) <= LEAF_BYTES:
            return await self.add(await self._thread(path.read_bytes))
        mine = await self._thread(lambda: outline_of(leaves_of_file(path)).root)
        return self._same(await self._call(lambda: self._add_file(path)), mine)

    async def fetch(self, cid: Cid, *, providers: Sequence[PeerId], max_bytes: int, timeout_s: float) -> bytes:
        """The content as the daemon finds it by its own routing; `providers` are of no use to it."""
        return bytes(await self.fetch_mapped(cid, providers=providers, max_bytes=max_bytes, timeout_s=timeout_s))

    async def fetch_mapped(
        self, cid: Cid, *, providers: Sequence[PeerId], max_bytes: int, timeout_s: float
    ) -> bytes | mmap:
        """As `fetch`, by way of a file of no name."""
        with tempfile.TemporaryFile() as file:
            size = await self._call(lambda: self._cat(cid, max_bytes, timeout_s, file))
            data: bytes | mmap = mmap(file.fileno(), 0, access=ACCESS_READ) if size > LEAF_BYTES else b""
            if size <= LEAF_BYTES:
                file.seek(0)
                data = file.read()
        if canonical(cid) != await self._thread(lambda: _root_of(data)):
            raise BadBlock(f"what the daemon at {self._address} gave is not {cid} in canonical chunks")
        return data

    async def has(self, cid: Cid) -> bool:
        """Whether the daemon has all of it without asking its peers."""
        try:
            await self._call(lambda: self._walk(cid))
        except NotFound:
            return False
        return True

    async def pin(self, cid: Cid) -> None:
        if not await self.has(cid):
            raise NotFound(f"{cid} is not at the daemon: fetch it before pinning it")
        await self._call(lambda: self._client.pin.add(cid, timeout=CONTROL_S))

    async def share(self, cid: Cid) -> bool:
        """Never: how long a daemon keeps what it has fetched, and for whom, is its operator's affair."""
        return False

    async def unpin(self, cid: Cid) -> None:
        try:
            await self._call(lambda: self._client.pin.rm(cid, timeout=CONTROL_S))
        except NotFound:
            return

    async def drop(self, cid: Cid) -> bool:
        """Unpin only: the daemon's collection is its operator's affair, and it may hold what others use."""
        await self.unpin(cid)
        return False

    async def pins(self) -> list[Cid]:
        listed = await self._call(lambda: self._client.pin.ls(type="recursive", timeout=CONTROL_S))
        return sorted(_supported(listed["Keys"]))

    def figures(self) -> dict[str, str | int]:
        """What the daemon stores and provides is its own affair."""
        return {"mode": "rpc", "api": self._address}

    def _same(self, said: Cid, mine: Cid) -> Cid:
        if said != mine:
            raise BadBlock(f"the daemon at {self._address} named the content {said}, it is {mine}")
        return mine

    def _add_file(self, path: Path) -> Cid:
        with path.open("rb") as file:
            return self._add(file)

    def _add(self, source: IO[bytes]) -> Cid:
        result = self._client.add(source, cid_version=1, raw_leaves=True, pin=True, timeout=ADD_S)
        return canonical(Cid(result["Hash"]))

    def _cat(self, cid: Cid, max_bytes: int, timeout_s: float, file: IO[bytes]) -> int:
        size = 0
        with self._client.cat(cid, length=max_bytes + 1, stream=True, timeout=timeout_s) as stream:
            for piece in stream:
                size += len(piece)
                if size > max_bytes:
                    raise TooLarge(f"{cid} has more than the {max_bytes} bytes that were expected")
                file.write(piece)
        file.flush()
        return size

    def _walk(self, cid: Cid) -> None:
        """Touch every block; the daemon answers with an error for one that is not there."""
        stack = [canonical(cid)]
        while stack:
            name = stack.pop()
            if codec_of(name) == DAG_PB:
                block = self._client.block.get(name, timeout=HERE_S, opts={"offline": True})
                stack.extend(decode_block(name, block).children)
            else:
                self._client.block.stat(name, timeout=HERE_S, opts={"offline": True})

    async def _thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._limiter)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await self._thread(work)
        except exceptions.ErrorResponse as err:
            raise NotFound(f"the daemon at {self._address} says: {err}") from err
        except exceptions.TimeoutError as err:
            raise NotFound(f"the daemon at {self._address} did not find it in time") from err
        except exceptions.CommunicationError as err:
            raise DaemonUnreachable(f"no IPFS daemon answers at {self._address}") from err
        except exceptions.Error as err:
            raise BlocksError(f"the daemon at {self._address} answered nonsense: {err}") from err


def _root_of(data: bytes | mmap) -> Cid:
    if len(data) <= LEAF_BYTES:
        return root_of(bytes(data))
    with memoryview(data) as view:
        return outline_of(view[at : at + LEAF_BYTES] for at in range(0, len(view), LEAF_BYTES)).root


def _supported(keys: Sequence[str]) -> list[Cid]:
    found = []
    for key in keys:
        try:
            found.append(canonical(Cid(key)))
        except BadIdentifier:
            continue  # other people's pins at a shared daemon may have hashes that we never use
    return found


def _client(address: str) -> Any:
    client = ipfshttpclient.Client(address, session=True)
    for adapter in client._client._session.adapters.values():
        # an argument of old urllib3 that the client still passes; new ones warn of it, the next will refuse it
        adapter.poolmanager.connection_pool_kw.pop("strict", None)
    return client


@asynccontextmanager
async def open_rpc(address: str) -> AsyncIterator[IpfsRpcBlocks]:
    """Reach the daemon at a multiaddress such as /ip4/127.0.0.1/tcp/5001. Raises DaemonUnreachable."""
    try:
        client = await trio.to_thread.run_sync(_client, address)
    except exceptions.AddressError as err:
        raise BlocksError(f"{address!r} is no address of an IPFS daemon: write /ip4/127.0.0.1/tcp/5001") from err
    blocks = IpfsRpcBlocks(address, client)
    try:
        await blocks._call(lambda: client.id(timeout=CONTROL_S))
        yield blocks
    finally:
        client.close()
