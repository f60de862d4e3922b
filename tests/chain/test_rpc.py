"""The RPC client and the sender, against both nodes, and against endpoints that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tercet.chain.artifacts import load_artifact
from tercet.chain.devnet import serve
from tercet.chain.keys import Key
from tercet.chain.rpc import Rpc, poll_delays
from tercet.chain.sender import Sender
from tercet.chain.transaction import Transaction, sign_transaction
from tercet.errors import (
    ChainUnreachableError,
    InsufficientFundsError,
    NotAllowedError,
    RpcError,
    TransactionLostError,
    WrongChainError,
)

from .conftest import Node, run_anvil

POOR = Key(b"\x0b" * 32)


async def test_value_arrives_and_gas_is_paid(chain: Node) -> None:
    """A transfer moves the value; the sender pays the receipt's gas at the receipt's price on top."""
    before = await chain.rpc.balance(chain.faucet.address)
    receipt = await chain.sender.send(POOR.address, value=5)
    assert receipt.status == 1
    assert receipt.gas_used == 21_000
    assert await chain.rpc.balance(POOR.address) == 5
    assert before - await chain.rpc.balance(chain.faucet.address) == 5 + receipt.gas_used * receipt.gas_price
    assert receipt.gas_price > 10**9  # a tip of a gwei and a base fee


async def test_many_tasks_share_a_sender(chain: Node) -> None:
    """Thirty concurrent sends from one account all land, each with its own nonce."""
    sender = chain.sender
    await asyncio.gather(*(sender.send(POOR.address, value=1, gas=21_000) for _ in range(30)))
    assert await chain.rpc.balance(POOR.address) == 30
    assert await chain.rpc.nonce(chain.faucet.address) == 30


async def test_two_processes_with_one_key_get_along(chain: Node) -> None:
    """Two senders that do not know of each other take nonces anew when the other was faster."""
    one, two = chain.sender, chain.sender
    sends = [s.send(POOR.address, value=1, gas=21_000) for _ in range(5) for s in (one, two)]
    await asyncio.gather(*sends)
    assert await chain.rpc.balance(POOR.address) == 10


async def test_without_money_the_error_says_how_to_get_some(chain: Node) -> None:
    """A poor sender learns that it cannot pay, and the command that funds it."""
    with pytest.raises(InsufficientFundsError, match="tercet wallet fund"):
        await Sender(chain.rpc, POOR).send(chain.faucet.address, value=1, gas=21_000)


async def test_a_revert_is_typed_before_and_after_it_is_mined(chain: Node) -> None:
    """The estimate refuses with the contract's words; a transaction sent in spite of it has the same error."""
    artifact = load_artifact("Credit")
    owner = Key(b"\x0c" * 32).address
    receipt = await chain.sender.send(None, artifact.bytecode + bytes(12) + bytes.fromhex(owner[2:]))
    assert receipt.contract is not None
    mint = bytes.fromhex("40c10f19") + bytes(12) + bytes.fromhex(POOR.address[2:]) + (5).to_bytes(32, "big")
    for gas in (None, 100_000):
        with pytest.raises(NotAllowedError, match="credit: caller is not the owner"):
            await chain.sender.send(receipt.contract, mint, gas=gas)


async def test_the_same_bytes_twice_are_one_transaction(chain: Node) -> None:
    """Resending a mined transaction does not pay twice."""
    chain_id = await chain.rpc.chain_id()
    signed = sign_transaction(Transaction(chain_id, 0, 10**9, 10**11, 21_000, POOR.address, 7, b""), chain.faucet)
    assert await chain.rpc.send_raw(signed.raw) == signed.hash
    assert await Sender(chain.rpc, chain.faucet)._wait(signed, asyncio.get_running_loop().time() + 10)
    with contextlib.suppress(RpcError):  # anvil refuses it, ours gives the same hash again
        await chain.rpc.send_raw(signed.raw)
    assert await chain.rpc.balance(POOR.address) == 7


@pytest.mark.anvil
async def test_a_replaced_transaction_is_sent_anew() -> None:
    """When another process takes the nonce of a transaction that waits, the sender gives it the next one."""
    async with run_anvil() as node:
        await node.rpc.call("evm_setAutomine", False)
        sending = asyncio.create_task(node.sender.send(POOR.address, value=1, gas=21_000))
        async for _ in poll_delays(asyncio.get_running_loop().time() + 10):
            if await node.rpc.nonce(node.faucet.address) == 1:
                break
        rival = Transaction(await node.rpc.chain_id(), 0, 10**10, 10**11, 21_000, POOR.address, 100, b"")
        await node.rpc.send_raw(sign_transaction(rival, node.faucet).raw)
        await node.rpc.call("evm_setAutomine", True)
        await node.rpc.call("evm_mine")
        receipt = await sending
        assert receipt.status == 1
        assert await node.rpc.balance(POOR.address) == 101


async def test_another_chain_id_is_noticed(tmp_path: Path) -> None:
    """A client made for one chain refuses another, and tells both ids."""
    async with serve(tmp_path) as server, Rpc(server.url, chain_id=1) as rpc:
        with pytest.raises(WrongChainError, match=rf"id {server.chain_id}, but 1 is expected"):
            await rpc.chain_id()


async def test_nobody_there_is_unreachable(unused_tcp_port: int) -> None:
    """A closed port is an error with exit code 4 and a way out, within the time-out."""
    async with Rpc(f"http://127.0.0.1:{unused_tcp_port}", timeout=2) as rpc:
        with pytest.raises(ChainUnreachableError, match="tercet chain start") as caught:
            await rpc.head()
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("body", ["<html>", "[]", "5", '{"jsonrpc": "2.0"}'])
async def test_junk_is_unreachable_not_a_crash(body: str) -> None:
    """An endpoint that is no chain is told apart from a chain that refuses."""

    async def junk(_request: web.Request) -> web.Response:
        return web.Response(text=body)

    application = web.Application()
    application.router.add_post("/", junk)
    async with TestServer(application) as server, Rpc(str(server.make_url("/"))) as rpc:
        with pytest.raises(ChainUnreachableError, match="not"):
            await rpc.head()


async def test_a_silent_chain_times_out() -> None:
    """A node that accepts and never answers costs the time-out and no more."""

    async def silent(_request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        raise AssertionError

    application = web.Application()
    application.router.add_post("/", silent)
    async with TestServer(application) as server, Rpc(str(server.make_url("/")), timeout=0.2) as rpc:
        with pytest.raises(ChainUnreachableError, match=r"no answer within 0\.2 s"):
            await rpc.head()


async def test_a_transaction_that_never_lands_is_given_up(tmp_path: Path) -> None:
    """With a nonce gap nothing is mined; the sender says so at its deadline instead of waiting for ever."""
    async with serve(tmp_path) as server, Rpc(server.url) as rpc:
        sender = Sender(rpc, Key.from_hex((tmp_path / "faucet.key").read_text()), deadline=0.2)
        sender._next = 5
        with pytest.raises(TransactionLostError, match="may still be mined"):
            await sender.send(POOR.address, value=1, gas=21_000)


async def test_an_answer_of_many_packets_is_read_whole() -> None:
    """An answer that comes in pieces is not cut short; one without end is given up."""

    async def pieces(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        endless = (await request.json())["method"] == "endless"
        await reply.write(b'{"jsonrpc": "2.0", "id": 1, "result": "')
        for _ in range(2_000 if endless else 5):
            await reply.write(b"x" * 50_000)
            await asyncio.sleep(0)
        await reply.write(b'"}')
        return reply

    application = web.Application()
    application.router.add_post("/", pieces)
    async with TestServer(application) as server, Rpc(str(server.make_url("/"))) as rpc:
        assert len(await rpc.call("long")) == 250_000
        with pytest.raises(RpcError, match="more than 64 MiB"):
            await rpc.call("endless")
