"""Rate this machine: how many operations a second it does, beside the cheats that say they do more.

Run it with: python examples/flops_rating.py
"""

from __future__ import annotations

import asyncio
import os
import time

from tercet.chain.keys import Key
from tercet.market import Rating, Task
from tercet.nodes.ratings import sign_rating, verify_rating
from tercet.subnets import Submission
from tercet.subnets.flops import Behaviour, Flops, remeasure


def flops(behaviour: Behaviour = "honest") -> Flops:
    """A small market's rules: three dtypes, a third of a second for each question."""
    kinds = "float64,float32,int8"
    return Flops("tiny", window=0.3, kinds=kinds, full="2-cores", device="numpy", behaviour=behaviour)


async def ask(miner: Flops, task: Task) -> Submission:
    """What a validator does over the network: ask, and time the answer by its own clock."""
    began, first, pieces = time.monotonic(), 0.0, []
    async for piece in miner.answer(task):
        first = first or time.monotonic() - began
        pieces.append(piece)
    return Submission(1, pieces, first, time.monotonic() - began, evidence=os.urandom(65))


async def main() -> None:
    """An honest rating, then three cheats."""
    validator, miner = flops(), flops()
    await validator.open("validator")
    await miner.open("miner")
    measured = await remeasure(validator, lambda task: ask(miner, task), repeats=3)
    machine, judge = Key.generate(), Key.generate()
    rating = Rating(
        operator=machine.address,
        market="0x" + "00" * 20,
        measurer=judge.address,
        lease="",
        readings=tuple(measured.readings),
        failed=measured.failed,
        cores=measured.cores,
        load_milli=measured.load_milli,
    )
    signed = sign_rating(judge, rating)
    verify_rating(signed)
    for figure in signed.figures:
        label = "noisy" if figure.noisy else "steady"
        print(f"{figure.kind:>8}: {figure.median / 1e9:8.2f} billion a second, {figure.count} readings, {label}")

    cheats: list[Behaviour] = ["zeros", "narrow", "inflated"]
    for behaviour in cheats:
        cheat = flops(behaviour)
        await cheat.open("miner")
        task = validator.probe("float32", os.urandom(32)).task
        (verdict,) = await validator.judge(task, [await ask(cheat, task)])
        print(f"{behaviour:>8}: score {verdict.score:g}, {verdict.reason}")


if __name__ == "__main__":
    asyncio.run(main())
