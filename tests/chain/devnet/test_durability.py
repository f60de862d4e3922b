"""The chain on disk: restarts, kills, locks, a full disk, a lost key."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import stat
import sys
from pathlib import Path

import pytest

from tercet.chain import Key, Rpc, Sender
from tercet.chain.devnet import Chain, Settings, serve
from tercet.chain.rpc import poll_delays
from tercet.chain.transaction import Transaction, sign_transaction
from tercet.errors import ChainBusyError, ChainError, ChainUnreachableError, PortTakenError, WrongChainError

SINK = "0x" + "0b" * 20

_SERVE = """
import asyncio, sys
from pathlib import Path
from tercet.chain.devnet import serve

async def main():
    async with serve(Path(sys.argv[1])) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def start(folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    """The chain as a process of its own; its URL."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", _SERVE, str(folder), stdout=pipe)
    assert child.stdout is not None
    line = await asyncio.wait_for(child.stdout.readline(), 30)
    return child, line.decode().strip()


async def send_until_killed(url: str, key: Key) -> int:
    """Transfers of one wei one after another; how many were acknowledged when the chain died."""
    async with Rpc(url, timeout=5) as rpc:
        nonce, chain_id = await rpc.nonce(key.address), await rpc.chain_id()
        try:
            while True:
                fields = Transaction(chain_id, nonce, 10**9, 10**10, 21_000, SINK, 1, b"")
                await rpc.send_raw(sign_transaction(fields, key).raw)
                nonce += 1
        except ChainUnreachableError:
            return nonce


async def test_kill_9_in_mid_write_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Killed while it mines, the chain comes back with whole blocks: head, nonce and balance agree."""
    acknowledged = 0
    for _ in range(3):
        child, url = await start(tmp_path)
        key = Key.from_hex((tmp_path / "faucet.key").read_text())
        sending = asyncio.create_task(send_until_killed(url, key))
        async with Rpc(url) as rpc:
            target = acknowledged + random.randint(20, 60)
            async for _ in poll_delays(asyncio.get_running_loop().time() + 30):
                if (await rpc.head()).number >= target:
                    break
        child.send_signal(signal.SIGKILL)
        await child.wait()
        acknowledged = await sending
        chain = Chain(tmp_path)
        try:
            head, nonce = chain.head.number, chain.accounts.get_nonce(bytes.fromhex(key.address[2:]))
            balance = chain.accounts.get_balance(bytes.fromhex(SINK[2:]))
        finally:
            chain.close()
        assert head == nonce == balance
        assert acknowledged <= head <= acknowledged + 1
        acknowledged = head


async def test_a_restart_is_the_same_chain(tmp_path: Path) -> None:
    """Balances, receipts, hashes and the faucet are what they were; the chain goes on from its head."""
    async with serve(tmp_path) as server, Rpc(server.url) as rpc:
        key = Key.from_hex((tmp_path / "faucet.key").read_text())
        receipt = await Sender(rpc, key).send(SINK, value=3)
        before = (await rpc.head(), await rpc.balance(SINK), await rpc.receipt(receipt.transaction))
    async with serve(tmp_path) as again, Rpc(again.url) as rpc:
        assert (await rpc.head(), await rpc.balance(SINK), await rpc.receipt(receipt.transaction)) == before
        assert again.faucet == server.faucet == key.address
        assert (await Sender(rpc, key).send(SINK, value=3)).block == receipt.block + 1


async def test_two_servers_cannot_share_a_folder(tmp_path: Path) -> None:
    """The second one is told that the folder is in use, and the first one goes on."""
    async with serve(tmp_path) as first:
        with pytest.raises(ChainBusyError, match="Another process runs the chain"):
            async with serve(tmp_path):
                pass
        async with Rpc(first.url) as rpc:
            assert await rpc.chain_id() == first.chain_id
    async with serve(tmp_path):  # the lock went with its holder
        pass


async def test_a_taken_port_is_told(tmp_path: Path) -> None:
    """The error names the port and the way out, and leaves the folder unlocked."""
    async with serve(tmp_path / "one") as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(PortTakenError, match=rf"Port {port} .* is taken"):
            async with serve(tmp_path / "two", port=port):
                pass
    async with serve(tmp_path / "two"):
        pass


def test_the_faucet_key_is_the_owners_only(tmp_path: Path) -> None:
    """Its file is 0600 in a folder of 0700; each chain has its own; without it the chain does not start."""
    one, two = Chain(tmp_path / "one"), Chain(tmp_path / "two")
    one.close()
    two.close()
    assert one.faucet != two.faucet
    file = tmp_path / "one" / "faucet.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.unlink()
    with pytest.raises(ChainError, match=r"faucet key .* is gone"):
        Chain(tmp_path / "one")


def test_a_chain_keeps_its_id(tmp_path: Path) -> None:
    """Started with another id than it was made with, it refuses rather than accept foreign signatures."""
    Chain(tmp_path, Settings(chain_id=77_777)).close()
    with pytest.raises(WrongChainError, match="has id 77777"):
        Chain(tmp_path)
    Chain(tmp_path, Settings(chain_id=77_777)).close()


def test_a_full_disk_refuses_the_block_and_keeps_the_chain(tmp_path: Path) -> None:
    """When SQLite cannot write, nothing changed; when it can again, the same transaction is mined."""
    chain = Chain(tmp_path)
    try:
        pages = chain.store._db.execute("PRAGMA page_count").fetchone()[0]
        chain.store._db.execute(f"PRAGMA max_page_count = {pages}")
        code = b"\x60\x0a\x5f\x60\x00\xf3" + os.urandom(8_000)  # calldata that fills pages
        fields = Transaction(chain.settings.chain_id, 0, 10**9, 10**10, 1_000_000, SINK, 1, code)
        signed = sign_transaction(fields, chain.faucet)
        with pytest.raises(ChainError, match="full"):
            chain.send(signed.raw)
        assert chain.head.number == 0
        assert chain.accounts.get_balance(bytes.fromhex(SINK[2:])) == 0
        chain.store._db.execute("PRAGMA max_page_count = 1000000")
        chain.send(signed.raw)
        assert chain.accounts.get_balance(bytes.fromhex(SINK[2:])) == 1
    finally:
        chain.close()


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    """A path that cannot be a chain's folder gives our error."""
    (tmp_path / "x").write_text("")
    with pytest.raises(ChainError, match="Cannot make the folder"):
        Chain(tmp_path / "x")


def test_a_store_that_is_no_database_is_told(tmp_path: Path) -> None:
    """A damaged file is named, and the lock is given back."""
    (tmp_path / "chain.sqlite").write_text("this is no database, but long enough to look at")
    for _ in range(2):
        with pytest.raises(ChainError, match="Cannot open the chain's store"):
            Chain(tmp_path)
