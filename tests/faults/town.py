"""A whole market in processes: a chain, miners, validators. Anybody can be killed, and started again."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tercet.chain.closing import close_epoch
from tercet.chain.keys import Key
from tercet.chain.ledger import Deployment, Ledger
from tercet.chain.market import MarketContract, ValidatorSlot
from tercet.chain.registry import MarketParams
from tercet.chain.rpc import Rpc
from tercet.chain.sender import Sender
from tercet.client import Client, ClosedEpoch
from tercet.errors import ChainUnreachableError
from tercet.market.treasury import pay_poke

ROLE = Path(__file__).with_name("role.py")
TCT, CREDIT = 10**18, 10**6
RATE = 1_000 * TCT
"""What an epoch pays."""
POKES = pay_poke(RATE, 3, 3)
"""Of it, to whoever closes it: three steps in a market of one page."""
COMMIT_SECONDS, REVEAL_SECONDS = 400, 80
MARGIN = 60
"""Seconds before the end of the commit phase by which a validator stops asking."""
ANSWER_SECONDS = 20.0
"""That a miner has, and so how long before the margin the last question is asked."""
QUESTIONS = 3
"""Of each validator to each miner in an epoch."""


@dataclass(slots=True)
class Resident:
    """A process that can be stopped in every way, and started again with the same state."""

    name: str
    command: list[str]
    folder: Path
    key: Key
    process: subprocess.Popen[bytes] | None = None
    ready: Mapping[str, Any] = field(default_factory=dict)

    @property
    def log(self) -> str:
        """What it said on stderr, all lives together."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it; `until_ready` waits."""
        out, log = (self.folder / f"{self.name}.out").open("wb"), (self.folder / f"{self.name}.log").open("ab")
        with out, log:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=log, stdin=subprocess.DEVNULL)

    async def until_ready(self, seconds: float = 40) -> None:
        """Wait for its `ready` line."""
        assert self.process is not None
        async with asyncio.timeout(seconds):
            while not (line := (self.folder / f"{self.name}.out").read_text()).endswith("\n"):
                assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.log}"
                await asyncio.sleep(0.02)
        self.ready = json.loads(line)
        assert self.ready["ready"]

    async def end(self, number: signal.Signals, seconds: float = 20) -> int:
        """Send a signal and wait; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, seconds)

    def asked(self, epoch: int) -> Counter[int]:
        """How many of a validator's questions count for `epoch`, by uid."""
        return Counter(line["uid"] for line in self.reasons() if line["event"] == "verdict" and line["epoch"] == epoch)

    def reasons(self) -> list[dict[str, Any]]:
        """A validator's `verdicts.jsonl`."""
        written = (self.folder / self.name / "verdicts.jsonl").read_text()
        return [json.loads(line) for line in written.splitlines(keepends=True) if line.endswith("\n")]


@dataclass(slots=True)
class Town:
    """Everybody, and a view of the ledger from outside."""

    folder: Path
    chain: Resident
    rpc: Rpc
    client: Client
    faucet: Sender
    market: MarketContract
    script: Path = ROLE
    residents: list[Resident] = field(default_factory=list)

    @classmethod
    async def found(cls, folder: Path, subnet: str = "echo", script: Path = ROLE) -> Town:
        """Start the chain, deploy, open a market with a sponsor. Its first epoch runs from here on.

        Args:
            folder: of everybody's state.
            subnet: of the market.
            script: what each role runs.

        """
        command = [sys.executable, "-m", "tercet.cli", "chain", "start", "--home", str(folder / "home")]
        chain = Resident("chain", [*command, "--time-travel", "--port", "0"], folder, Key.generate())
        chain.start()
        try:
            await chain.until_ready()
            # Whoever restarts the chain finds it where it was.
            chain.command[-1] = chain.ready["endpoint"].rpartition(":")[2]
            rpc = Rpc(chain.ready["endpoint"])
            client = Client(Ledger(rpc, Deployment.from_json(chain.ready, "of the chain")))
            faucet = client.sender(Key.from_hex((folder / "home" / "chain" / "faucet.key").read_text()))
            params = MarketParams(
                subnet, commit_seconds=COMMIT_SECONDS, reveal_seconds=REVEAL_SECONDS, bond_alpha=TCT // 2
            )
            market = client.ledger.market(await client.open_market(faucet, subnet, params))
            await client.sponsor(faucet, market, 1_000 * RATE, 1_000)
        except BaseException:
            chain.process.kill() if chain.process else None
            raise
        return cls(folder, chain, rpc, client, faucet, market, script)

    async def leave(self) -> None:
        """End what still runs, and show what everybody said: pytest prints it when a test fails."""
        for resident in [*self.residents, self.chain]:
            if resident.process is not None and resident.process.poll() is None:
                resident.process.kill()
            if resident.process is not None:
                await asyncio.to_thread(resident.process.wait, 10)
            lines = "\n".join(resident.log.splitlines()[-40:])
            sys.stdout.write(f"--- {resident.name}\n{lines}\n")
        await self.rpc.close()

    async def fund(self, key: Key, *, stake: int = 0, credit: int = 0) -> None:
        """Gas, and what else it takes."""
        ledger = self.client.ledger
        await self.faucet.send(key.address, value=10**18)
        if stake:
            await ledger.token.transfer(self.faucet, key.address, stake)
        if credit:
            await ledger.credit.mint(self.faucet, key.address, credit)

    async def passer_by(self) -> Sender:
        """Somebody with gas and no part in the market."""
        key = Key.generate()
        await self.fund(key)
        return self.client.sender(key)

    async def add_miner(self, name: str, *, echo: str = "echo", skew: float = 0.0) -> Resident:
        """A miner that starts now and registers itself."""
        key = Key.generate()
        await self.fund(key, stake=10 * TCT)  # a slot is dearer when several come at once
        return self._move_in("miner", name, key, echo=echo, skew=skew)

    async def add_validator(self, name: str, stake: int = 10 * TCT, *, register: bool = True, **facts: Any) -> Resident:
        """A validator with a seat, and a payer of its own."""
        key, payer = Key.generate(), Key.generate()
        await self.fund(key, stake=stake)
        await self.fund(payer, credit=100 * CREDIT)
        if register:
            await self.client.join_as_validator(self.client.sender(key), self.market, key.address, stake)
        return self._move_in("validator", name, key, payer=payer.secret.hex(), **facts)

    def _move_in(self, role: str, name: str, key: Key, **facts: Any) -> Resident:
        path = self.folder / f"{name}.json"
        path.touch(mode=0o600)
        common = {"role": role, "key": key.secret.hex(), "url": self.rpc.url, "market": self.market.address}
        deployment = asdict(self.client.ledger.deployment)
        defaults = {"echo": "echo", "skew": 0.0, "answer_seconds": ANSWER_SECONDS, "state": str(self.folder / name)}
        path.write_text(json.dumps({**defaults, **common, "deployment": deployment, **facts}))
        resident = Resident(name, [sys.executable, str(self.script), str(path)], self.folder, key)
        self.residents.append(resident)
        resident.start()
        return resident

    async def uid(self, miner: Resident) -> int:
        """The miner's slot."""
        uid = await self.market.uid_of(miner.key.address)
        assert uid is not None
        return uid

    # Time. Phases are long, so that a slow machine is no fault; the chain's clock jumps when all is done.

    async def jump_to(self, moment: float) -> None:
        """Let the chain's clock run ahead to `moment`; never back."""
        now = int(await self.rpc.call("eth_call", {"data": "0x4260005260206000f3"}, "latest"), 16)
        if moment > now:
            await self.rpc.call("evm_increaseTime", hex(math.ceil(moment - now)))

    async def until_asked(self, judges: Sequence[Resident], miners: Sequence[Resident]) -> None:
        """Jump to the end of measuring; every judge has asked each of these miners all its questions."""
        status = await self.market.status()
        uids = [await self.uid(miner) for miner in miners]
        planned = [f"challenge.planned epoch={status.epoch} uid={uid} " for uid in uids]

        async def known() -> bool:
            return all(line in judge.log for judge in judges for line in planned)

        await until(known, 60, f"not all of {uids} were seen in epoch {status.epoch}")
        await self.jump_to(status.commit_ends - MARGIN - ANSWER_SECONDS)
        due = Counter(dict.fromkeys(uids, QUESTIONS))

        async def asked() -> bool:
            return all(due <= judge.asked(status.epoch) for judge in judges)

        await until(asked, 60, f"not all of {uids} were asked for epoch {status.epoch}")

    async def until_committed(self, judges: Sequence[Resident]) -> None:
        """Jump to when the last commits; all of them did."""
        status = await self.market.status()
        await self.jump_to(status.commit_ends - MARGIN / 2)
        await self._until_seats(judges, lambda seat: seat.committed == status.epoch + 1, "committed")

    async def settle_in(self) -> None:
        """Pass the epoch in which everybody came: stake counts from the next one on."""
        status = await self.market.status()
        await self.jump_to(status.reveal_ends)
        await close_epoch(self.market, await self.passer_by())

    async def until_revealed(self, judges: Sequence[Resident]) -> None:
        """Jump to when the last reveals; all of them did."""
        status = await self.market.status()
        await self.jump_to(status.commit_ends + 0.4 * (status.reveal_ends - status.commit_ends) + 1)
        await self._until_seats(judges, lambda seat: seat.revealed == status.epoch + 1, "revealed")

    async def until_closed(self) -> ClosedEpoch:
        """Jump over the reveal phase; somebody closes the epoch. Its result."""
        status = await self.market.status()
        await self.jump_to(status.reveal_ends + 4)

        async def past() -> bool:
            return (await self.market.status()).epoch > status.epoch

        await until(past, 60, f"epoch {status.epoch} was not closed")
        return (await self.client.closed_epochs(self.market))[-1]

    async def live_through(self, judges: Sequence[Resident], miners: Sequence[Resident]) -> ClosedEpoch:
        """A whole epoch of these judges, in which they ask at least these miners."""
        await self.until_asked(judges, miners)
        await self.until_committed(judges)
        await self.until_revealed(judges)
        return await self.until_closed()

    async def _until_seats(self, judges: Sequence[Resident], true: Callable[[ValidatorSlot], bool], what: str) -> None:
        operators = {judge.key.address: judge.name for judge in judges}

        async def done() -> bool:
            slots = {slot.operator: slot for slot in await self.market.validators()}
            return all(true(slots[operator]) for operator in operators)

        await until(done, 60, f"not all of {sorted(operators.values())} have {what}")


async def until(true: Callable[[], Awaitable[bool]], seconds: float, otherwise: str) -> None:
    """Poll, also over an unreachable chain; fail with `otherwise` when it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if await true():
                return
        except ChainUnreachableError:
            pass
        assert time.monotonic() < deadline, f"{otherwise} within {seconds:g} s"
        await asyncio.sleep(0.05)
