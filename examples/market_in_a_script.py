"""A whole market on the embedded chain, driven from one script: open, register, vote, close, withdraw.

python examples/market_in_a_script.py
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from pathlib import Path

from tercet.chain import Key, Ledger, MarketParams, Rpc, Sender, build_commit_digest, close_epoch, deploy, serve
from tercet.market import build_row
from tercet.market.epoch import pack_row

TCT = 10**18
PARAMS = MarketParams("echo", commit_seconds=60, reveal_seconds=60)


async def main() -> None:
    """Play two epochs; the chain's clock is pushed along instead of waited for."""
    with tempfile.TemporaryDirectory() as folder:
        async with serve(Path(folder), time_travel=True) as server, Rpc(server.url) as rpc:
            owner = Sender(rpc, Key.from_hex((Path(folder) / "faucet.key").read_text()))
            ledger = Ledger(rpc, await deploy(owner))
            await ledger.token.approve(owner, ledger.registry.address)
            market = ledger.market(await ledger.registry.open_market(owner, ledger.token.address, "Example", PARAMS))
            stakes, treasury = await market.stakes(), await market.treasury()
            for contract in (market, stakes, treasury):
                await ledger.token.approve(owner, contract.address)
            uid = await market.register_miner(owner, Key.generate().address, "http://127.0.0.1:8090", 2 * TCT)
            await market.register_validator(owner, owner.address, 100 * TCT)
            await pass_epoch(rpc)
            await close_epoch(market, owner)  # stake counts from the epoch after it came
            await treasury.sponsor(owner, 1_000 * TCT, 10)

            status = await market.status()
            row, salt = tuple(pack_row(build_row({uid: 1.0}, status.columns))), secrets.token_bytes(32)
            digest = build_commit_digest(
                await rpc.chain_id(), market.address, status.epoch, owner.address, salt, status.generation, row
            )
            await market.commit(owner, digest)
            await rpc.call("evm_increaseTime", hex(PARAMS.commit_seconds))
            await market.reveal(owner, status.generation, salt, row)
            await pass_epoch(rpc)

            closed = await close_epoch(market, owner)
            print(f"epoch {closed.epoch} closed in {closed.transactions} transaction")
            mined, _ = await treasury.withdraw(owner)
            judged, _ = await stakes.claim(owner, (await market.validators())[0].pool)
            print(f"as a miner, and for closing the epoch: {mined / TCT} TCT; as a validator: {judged / TCT} TCT")


async def pass_epoch(rpc: Rpc) -> None:
    """Let the chain's clock run ahead by a whole epoch."""
    await rpc.call("evm_increaseTime", hex(PARAMS.commit_seconds + PARAMS.reveal_seconds))
    await rpc.call("evm_mine")


if __name__ == "__main__":
    asyncio.run(main())
