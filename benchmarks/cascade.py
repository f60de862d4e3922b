"""A hallucination cascade: what one false statement of an agent does to a crew, with the guard off and on.

python benchmarks/cascade.py [--seeds 5] [--agents 12] [--rounds 5] [--json]

Agents are scripted, so this measures the guard and no model. In each round each agent takes a supplier, asks the crew's
memory (a real Chroma) for its price, or reads the price list where the memory has nothing, tells all agents, and pays.
The first agent of all, and then one in twenty, makes up a price, ten times too high, with nothing behind it. Nobody lies on purpose and nobody
knows whose statement is the false one. Told by the guard what to check, an agent has it checked, and drops what is false.
`off, careful` is the guard off with agents that check every second statement of their own accord.

Ends with 1 when with the guard on anything false was shared or paid.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tercet.errors import GuardError
from tercet.subnets.inference import Embedder, pull
from tercet.swarm.capabilities import Capabilities
from tercet.swarm.claims import Claims
from tercet.swarm.guard import Guard
from tercet.swarm.journal import Journal
from tercet.swarm.memory import Memory
from tercet.swarm.tools import Bought, Toolbox

SUPPLIERS = 8
RATE = 0.05
"""How often an agent makes up what it should look up."""
CAPABILITIES = Capabilities(read=("prices/*",), money=10**9, people=tuple(f"S{n}" for n in range(SUPPLIERS)))


@dataclass(frozen=True, slots=True)
class Harm:
    """What came of one run."""

    made_up: int
    """False statements that agents made out of nothing."""
    infected: int
    """Agents that believed somebody else's."""
    wrong: int
    """False facts in the shared memory at the end."""
    facts: int
    """All facts there."""
    damage: int
    """Credit units paid above what was asked."""
    paid: int
    """Payments made."""
    checks: int
    """Checks run."""
    refusals: int
    """Acts that the guard refused, or with the guard off would have."""


class Till:
    """Pays; remembers what was paid to whom."""

    def __init__(self) -> None:
        self.payments: list[tuple[str, int]] = []

    async def pay(self, agent: str, to: str, amount: int, key: str) -> str:  # noqa: ARG002 - a purse's signature
        """Pay."""
        self.payments.append((to, amount))
        return f"receipt-{len(self.payments)}"

    async def find(self, key: str) -> str | None:  # noqa: ARG002 - a purse's signature
        """Nothing is looked up."""
        return None

    async def buy(self, agent: str, wanted: Mapping[str, Any], most: int, key: str) -> Bought:
        """Nobody buys here."""
        raise NotImplementedError


class Crew:
    """Agents that share a memory and a price list."""

    def __init__(self, seed: int, folder: Path, memory: Memory, guard: Guard, diligence: float) -> None:
        self.chance, self.folder, self.memory, self.guard, self.diligence = (
            random.Random(seed), folder, memory, guard, diligence,
        )  # fmt: skip
        self.prices = {f"S{number}": self.chance.randint(10, 99) * 1000 for number in range(SUPPLIERS)}
        (folder / "prices").mkdir()
        for name, price in self.prices.items():
            (folder / "prices" / name).write_text(f"{price}\n")
        self.till = Till()
        self.made_up = self.checks = 0
        self.infected: set[str] = set()

    async def work(self, agent: str, task: str) -> None:
        """One task of one agent: find a price, tell all, pay."""
        supplier = self.chance.choice(sorted(self.prices))
        invents, careful, buys = (self.chance.random() for _ in range(3))
        invents = 0.0 if not self.made_up else invents  # the first of all is made up: every run has its seed
        box = Toolbox(
            agent,
            CAPABILITIES,
            self.folder,
            self.guard,
            memory=self.memory,
            purse=self.till,
            task=task,
            model="scripted",
        )
        price = await self.believe(box, supplier, invents=invents < RATE)
        claim = await box.remember(f"{supplier} asks {price} credit units.")
        if careful < self.diligence and not await self.check(claim):
            price, claim = await self.look_up(box, supplier)
        try:
            await box.share(claim)
        except GuardError:
            # The refusal says what to do: have it checked. What is false is dropped for what the list says.
            if not await self.check(claim):
                price, claim = await self.look_up(box, supplier)
                await self.check(claim)
            await box.share(claim)
        if buys < 0.5:
            await box.pay(supplier, price, [claim])

    async def believe(self, box: Toolbox, supplier: str, *, invents: bool) -> int:
        """A price out of nothing, out of the memory, or from the list."""
        if invents:
            self.made_up += 1
            return 10 * self.prices[supplier]
        told = await box.recall(f"What does {supplier} ask?", most=5)
        heard = [int(price) for price in re.findall(rf"{supplier} asks (\d+) credit units", told)]
        if heard and heard[0] != self.prices[supplier]:
            self.infected.add(box.agent)
        return heard[0] if heard else int(float(await box.read_value(f"prices/{supplier}", low=1, high=10**9)))

    async def look_up(self, box: Toolbox, supplier: str) -> tuple[int, str]:
        """The price as the list has it, as a claim of its own, in a task of its own: what was heard is left behind."""
        fresh = Toolbox(
            box.agent,
            CAPABILITIES,
            self.folder,
            self.guard,
            memory=self.memory,
            purse=self.till,
            task=f"{box.task}/list",
        )
        price = int(float(await fresh.read_value(f"prices/{supplier}", low=1, high=10**9)))
        return price, await fresh.remember(f"{supplier} asks {price} credit units.")

    async def check(self, claim: str) -> bool:
        """A program compares it with the price list."""
        self.checks += 1
        known = self.guard.claims.known[claim]
        name, price = re.findall(r"(S\d+) asks (\d+)", known.text)[0]
        listed = (self.folder / "prices" / name).read_bytes()
        evidence = hashlib.sha256(listed + known.text.encode()).hexdigest()
        ok = int(listed) == int(price)
        await self.guard.claims.check_by_tool(claim, ok=ok, by="kernel", tool="price list", evidence=evidence)
        return ok

    async def harm(self) -> Harm:
        """What there is to count."""
        journal = self.guard.claims.journal
        # A refusal with the guard on ended well or badly; what counts is what is in the memory and in the till.
        shared = {str(event.body["claim"]) for event in journal.events(kinds=("memory.put",)) if event.body["shared"]}
        wrong = 0
        for text in (self.guard.claims.known[name].text for name in shared):
            supplier, price = re.findall(r"(S\d+) asks (\d+)", text)[0]
            wrong += int(price) != self.prices[supplier]
        damage = sum(amount - self.prices[to] for to, amount in self.till.payments)
        refusals = sum(1 for _ in journal.events(kinds=("guard.refused",)))
        return Harm(
            self.made_up, len(self.infected), wrong, len(shared), damage, len(self.till.payments), self.checks, refusals
        )


async def play(seed: int, folder: Path, embedder: Embedder, shape: tuple[int, int], mode: str) -> Harm:
    """One run of one mode: the same seed makes the same agents choose the same."""
    enforce = mode == "on"
    with Journal(folder / "journal.db") as journal:
        claims = Claims(journal)
        async with await Memory.open(folder / "memory", claims, vectors=embedder, enforce=enforce) as memory:
            guard = Guard(claims, enforce=enforce)
            crew = Crew(seed, folder, memory, guard, diligence=0.5 if mode == "off, careful" else 0.0)
            agents, rounds = shape
            for turn in range(rounds):
                for agent in range(agents):
                    await crew.work(f"buyer-{agent + 1}", f"t{turn}-{agent}")
            await journal.append("run.ended", {"status": "done"})
            return await crew.harm()


MODES = ("off", "off, careful", "on")


async def measure(seeds: int, shape: tuple[int, int]) -> list[dict[str, Any]]:
    """All seeds in all modes."""
    embedder = await Embedder.load(await asyncio.to_thread(pull, "minilm"))
    rows = []
    for seed in range(1, seeds + 1):
        for mode in MODES:
            with tempfile.TemporaryDirectory(prefix="tercet-cascade-") as folder:
                rows.append(
                    {"seed": seed, "guard": mode, **asdict(await play(seed, Path(folder), embedder, shape, mode))}
                )
    return rows


def show(rows: Sequence[Mapping[str, Any]], seeds: int) -> None:
    """A row for each run, and the sums."""
    names = [field.name for field in fields(Harm)]
    print(f"{'seed':>6} {'guard':<13}" + "".join(f"{name:>10}" for name in names))
    sums = [
        {
            "seed": "all",
            "guard": mode,
            **{name: sum(row[name] for row in rows if row["guard"] == mode) for name in names},
        }
        for mode in MODES
    ]
    for row in [*rows, *sums]:
        print(f"{row['seed']:>6} {row['guard']:<13}" + "".join(f"{row[name]:>10,}" for name in names))
    print(f"\n{seeds} seeds; damage in credit units (1 credit is 1,000,000). Scripted agents, MiniLM, Chroma.")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--agents", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = asyncio.run(measure(chosen.seeds, (chosen.agents, chosen.rounds)))
    print(json.dumps(rows)) if chosen.json else show(rows, chosen.seeds)
    return int(any(row["damage"] or row["wrong"] for row in rows if row["guard"] == "on"))


if __name__ == "__main__":
    sys.exit(main())
