"""The chain itself: fees, time, block hashes, order of nonces, limits of what it takes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tercet.chain import Key, Rpc, Sender
from tercet.chain.devnet import Server, Settings, serve
from tercet.chain.devnet.chain import DEFAULT_CHAIN_ID
from tercet.chain.transaction import SignedTransaction, Transaction, sign_transaction
from tercet.errors import InsufficientFundsError, RevertedError, RpcError, WrongChainError

POOR = Key(b"\x0b" * 32)
GWEI = 10**9


@pytest.fixture
async def rpc(server: Server) -> AsyncIterator[Rpc]:
    async with Rpc(server.url) as client:
        yield client


@pytest.fixture
def sender(rpc: Rpc, faucet: Key) -> Sender:
    return Sender(rpc, faucet, deadline=10)


@pytest.fixture
def signed(faucet: Key) -> Callable[..., SignedTransaction]:
    """A signed transfer of one wei with some fields changed."""

    def make(nonce: int = 0, **changed: Any) -> SignedTransaction:
        fields: dict[str, Any] = {
            "chain_id": DEFAULT_CHAIN_ID,
            "nonce": nonce,
            "max_priority_fee": GWEI,
            "max_fee": 10 * GWEI,
            "gas": 21_000,
            "to": POOR.address,
            "value": 1,
            "data": b"",
        }
        return sign_transaction(Transaction(**(fields | changed)), faucet)

    return make


async def run_code(sender: Sender, code: str) -> str:
    """Put runtime code on the chain; its address."""
    runtime = bytes.fromhex(code)
    # PUSH2 size, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN
    init = bytes.fromhex(f"61{len(runtime):04x}80600a5f395ff3")
    receipt = await sender.send(None, init + runtime)
    assert receipt.contract is not None
    return receipt.contract


async def test_the_base_fee_is_burnt_and_the_tip_is_paid(rpc: Rpc, sender: Sender, faucet: Key) -> None:
    """Money leaves the world by exactly gas x base fee; the zero address gets the tip."""
    before = await rpc.balance(faucet.address)
    receipt = await sender.send(POOR.address, value=1, gas=21_000)
    base_fee = (await rpc.block(receipt.block)).base_fee
    tip = await rpc.balance("0x" + "00" * 20)
    assert tip == 21_000 * (receipt.gas_price - base_fee)
    after = await rpc.balance(faucet.address) + await rpc.balance(POOR.address) + tip
    assert before - after == 21_000 * base_fee > 0


async def test_the_base_fee_follows_the_load(rpc: Rpc, sender: Sender) -> None:
    """Emptier blocks than half make it fall, by at most an eighth."""
    fees = []
    for _ in range(4):
        await sender.send(POOR.address, value=1, gas=21_000)
        fees.append((await rpc.head()).base_fee)
    assert fees == sorted(fees, reverse=True)
    assert all(7 * a // 8 <= b < a for a, b in itertools.pairwise(fees))


async def test_time_never_goes_back_and_calls_see_now(tmp_path: Path) -> None:
    """A block is never older than its parent though the clock is set back; eth_call runs at the pending time."""
    clock = [1_900_000_000.0]
    settings = Settings(clock=lambda: clock[0])
    async with serve(tmp_path, settings=settings) as server, Rpc(server.url) as rpc:
        sender = Sender(rpc, Key.from_hex((tmp_path / "faucet.key").read_text()))
        await sender.send(POOR.address, value=1, gas=21_000)
        address = await run_code(sender, "425f5260205ff3")  # return TIMESTAMP
        clock[0] += 100
        assert int.from_bytes(await rpc.view(address, b""), "big") == 1_900_000_100
        await sender.send(POOR.address, value=1, gas=21_000)
        clock[0] -= 5_000
        await sender.send(POOR.address, value=1, gas=21_000)
        assert (await rpc.head()).timestamp == 1_900_000_100


async def test_time_travel_moves_the_clock_for_good(rpc: Rpc, server: Server, folder: Path) -> None:
    """evm_increaseTime and evm_setNextBlockTimestamp shift what blocks say; the drift survives a restart."""
    start = (await rpc.head()).timestamp
    await rpc.call("evm_increaseTime", 1_000)
    await rpc.call("evm_mine")
    assert (await rpc.head()).timestamp >= start + 1_000
    await rpc.call("evm_setNextBlockTimestamp", hex(start + 5_000))
    await rpc.call("evm_mine")
    assert (await rpc.head()).timestamp == start + 5_000
    with pytest.raises(RpcError, match="lower than"):
        await rpc.call("evm_setNextBlockTimestamp", hex(start))
    await rpc.call("evm_mine")
    assert (await rpc.head()).timestamp >= start + 5_000


async def test_time_travel_needs_permission(tmp_path: Path) -> None:
    """A chain that was not started for it does not let anybody move its clock."""
    async with serve(tmp_path) as server, Rpc(server.url) as rpc:
        for method in ("evm_increaseTime", "evm_mine", "evm_setNextBlockTimestamp"):
            with pytest.raises(RpcError, match="Start the chain with time travel"):
                await rpc.call(method, "0x1")


async def test_blockhash_knows_the_last_256_blocks(rpc: Rpc, sender: Sender) -> None:
    """The opcode gives a recent block's hash, and zero for the present and for long ago."""
    address = await run_code(sender, "5f35405f5260205ff3")  # BLOCKHASH(calldata word)
    for _ in range(260):
        await rpc.call("evm_mine")
    head = (await rpc.head()).number

    async def blockhash(number: int) -> bytes:
        return await rpc.view(address, number.to_bytes(32, "big"))

    for number in (head, head - 1, head - 255):
        assert await blockhash(number) == (await rpc.block(number)).hash
    assert await blockhash(head + 1) == await blockhash(head - 256) == bytes(32)


async def test_nonces_out_of_order_are_put_in_order(rpc: Rpc, signed: Callable[..., SignedTransaction]) -> None:
    """A transaction whose nonce is ahead waits, and is mined when the gap is filled."""
    third, second, first = signed(2), signed(1), signed(0)
    for transaction in (third, second):
        assert await rpc.send_raw(transaction.raw) == transaction.hash
        assert await rpc.receipt(transaction.hash) is None
    await rpc.send_raw(first.raw)
    receipts = [await rpc.receipt(t.hash) for t in (first, second, third)]
    assert [r.block for r in receipts if r] == [1, 2, 3]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chain_id": 1}, "invalid chain id"),
        ({"gas": 20_999}, "intrinsic gas too low"),
        ({"gas": 2**24 + 1}, "intrinsic gas too high"),
        ({"max_fee": 1, "max_priority_fee": 1}, "max fee per gas less than block base fee"),
        ({"max_priority_fee": 11 * GWEI}, "max priority fee"),
        ({"data": b"\1" * 1_000}, "intrinsic gas too low"),
        ({"to": None, "data": bytes(49_153), "gas": 2**24}, "initcode"),
        ({"max_fee": 2**70}, "max fee"),
    ],
)
async def test_what_no_block_may_contain_is_refused(
    rpc: Rpc, signed: Callable[..., SignedTransaction], changed: dict[str, Any], message: str
) -> None:
    """An invalid transaction costs nothing and changes nothing; the answer names the fault."""
    with pytest.raises(RpcError, match=message):
        await rpc.send_raw(signed(**changed).raw)
    assert (await rpc.head()).number == 0


async def test_a_used_nonce_and_an_empty_purse_are_told_apart(
    rpc: Rpc, signed: Callable[..., SignedTransaction]
) -> None:
    """Both are refusals that clients react to, so both have the words they look for."""
    await rpc.send_raw(signed(0).raw)
    with pytest.raises(RpcError, match="nonce too low"):
        await rpc.send_raw(signed(0, value=2).raw)
    with pytest.raises(InsufficientFundsError):
        await rpc.send_raw(signed(1, value=10**40).raw)


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x03\xc0", b"\xf8", b"\xff" * 40, b"\x02\xc0", b"\x7f" * 9])
async def test_junk_is_no_transaction(rpc: Rpc, raw: bytes) -> None:
    """Any bytes give a JSON-RPC error, never a broken chain."""
    with pytest.raises(RpcError):
        await rpc.send_raw(raw)
    assert (await rpc.head()).number == 0


async def test_endless_recursion_runs_out_of_gas_not_of_stack(rpc: Rpc, sender: Sender) -> None:
    """A contract that calls itself to the depth limit neither crashes nor stops the chain."""
    # CALL(gas, self, 0, 0, 0, 0, 0)
    address = await run_code(sender, "5f5f5f5f5f305af100")
    receipt = await sender.send(address, gas=2**24)
    assert receipt.status == 1
    await sender.send(POOR.address, value=1, gas=21_000)


async def test_a_failed_creation_and_a_revert_leave_nothing(rpc: Rpc, sender: Sender) -> None:
    """State changes of a reverted transaction are gone, its gas is paid, its nonce is used."""
    address = await run_code(sender, "60015f5560045ffd")  # SSTORE(0, 1); REVERT(0, 4)
    with pytest.raises(RevertedError):
        await sender.send(address, gas=100_000)
    assert await rpc.call("eth_getStorageAt", address, "0x0", "latest") == "0x" + "00" * 32
    assert await rpc.nonce(sender.address) == 2


async def test_only_the_newest_state_is_kept_and_older_is_refused(rpc: Rpc, sender: Sender) -> None:
    """A question about an old block's state is refused with a reason rather than answered with today's."""
    await sender.send(POOR.address, value=1, gas=21_000)
    with pytest.raises(RpcError, match="only the latest, 1"):
        await rpc.call("eth_getBalance", POOR.address, "0x0")
    assert await rpc.call("eth_getBalance", POOR.address, "0x1") == "0x1"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x12", "latest"]),
        ("eth_getBalance", [5, "latest"]),
        ("eth_call", ["0x", "latest"]),
        ("eth_call", [{"to": "0x12"}, "latest"]),
        ("eth_getLogs", [{"topics": "x"}]),
        ("eth_getLogs", [{"topics": [["0x12"]]}]),
        ("eth_getBlockByNumber", ["0xzz", False]),
        ("eth_getTransactionReceipt", [None]),
        ("eth_sendRawTransaction", ["0xabc"]),
    ],
)
async def test_wrong_parameters_are_told(rpc: Rpc, method: str, params: list[Any]) -> None:
    """Missing and malformed parameters are JSON-RPC's -32602 and name the method."""
    with pytest.raises(RpcError, match=method) as caught:
        await rpc.call(method, *params)
    assert caught.value.code == -32602


async def test_estimates_suffice_and_are_tight(rpc: Rpc, sender: Sender) -> None:
    """The estimated limit is enough for a call that keeps 1/64 of its gas at each level, and not much more."""
    inner = await run_code(sender, "60015f5560015f5560026001555f5ff3")
    outer = await run_code(sender, f"5f5f5f5f5f73{inner[2:].lower()}5af16022575f5ffd5b00")
    estimate = await rpc.estimate(sender.address, outer, b"")
    receipt = await sender.send(outer, gas=estimate)
    assert receipt.gas_used <= estimate <= receipt.gas_used * 1.2
    with pytest.raises(RevertedError):
        await sender.send(outer, gas=await rpc.estimate(sender.address, outer, b"") * 9 // 10)


async def test_a_public_chain_id_is_refused(tmp_path: Path) -> None:
    """Nothing that is signed on a development chain may be good on a public one."""
    for chain_id in (1, 8453, 11155111, 0):
        with pytest.raises(WrongChainError, match="public chain"):
            async with serve(tmp_path, settings=Settings(chain_id=chain_id)):
                pass


async def test_many_readers_while_writing(rpc: Rpc, sender: Sender) -> None:
    """Fifty concurrent reads and twenty writes all answer."""
    writes = [sender.send(POOR.address, value=1, gas=21_000) for _ in range(20)]
    reads = [rpc.balance(POOR.address) for _ in range(50)]
    await asyncio.gather(*writes, *reads)
    assert await rpc.balance(POOR.address) == 20
