"""E5: what a hundred agents cost a person at our inbox, over what five cost who answers one prompt for every ask.

python benchmarks/attention.py                  all sizes, ten seeds; some minutes
python benchmarks/attention.py --seeds 2        a quick look
python benchmarks/attention.py --docs           write the tables into docs/explanation/attention.md
python benchmarks/attention.py --json           one JSON object

A robot works the screen that `tercet inbox` shows: it reads the drawn lines, presses keys, and is charged the seconds of
the keystroke-level model. Agents, journal, inbox and screen are the real ones; time is virtual. The terminal itself is
measured at the end, over a pty, in real time. It says what the queue asks of a person, not how well people decide.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import pty
import random
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tercet.cli.inbox.reader import Reader
from tercet.cli.inbox.screen import Screen
from tercet.cli.inbox.terminal import perform
from tercet.cli.inbox.words import tell_card
from tercet.swarm.inbox import Answer, Card, Inbox, Item, Scope, VirtualClock, build_card, build_verbs
from tercet.swarm.inbox.rules import DECIDE_SECONDS, WORDS_A_SECOND
from tercet.swarm.inbox.stamps import is_high_risk
from tercet.swarm.journal import Journal

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/explanation/attention.md"
SIZES = (5, 15, 100)
HOURS = 24
RATE = 1.0
"""Asks of an agent in an hour."""
SHARES = {"policy": 0.75, "cause": 0.20, "judgement": 0.04, "final": 0.01}
GROUP = 20
CREDIT = 1_000_000
KEY_SECONDS = 0.28
"""One key (keystroke-level model, Card, Moran and Newell 1980: K, an average typist)."""
LOOK_SECONDS = 5.0
"""How often the robot looks at an empty screen."""
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 8: 2.36, 10: 2.26, 12: 2.20, 20: 2.09}
PROVIDERS = 12
"""Common causes come from so many places."""
WRONG = "No task asks for it"
CLASSES = ("network", "files", "commands")


@dataclass(frozen=True, slots=True)
class Ask:
    """One ask of the scenario, with what a careful person would say."""

    at: float
    """Seconds since the start."""
    kind: str
    """A name of `SHARES`."""
    card: Card
    right: str


@dataclass(slots=True)
class Shift:
    """What one seed measured."""

    agents: int
    hours: float
    raw: int = 0
    seconds: float = 0.0
    """Of the person, spent on decisions."""
    decisions: list[float] = field(default_factory=list)
    """When."""
    finds: list[float] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    """To resolve a card, from the moment it was before the person."""
    waits: list[float] = field(default_factory=list)
    """Seconds that asks waited for the person."""
    high_waits: list[float] = field(default_factory=list)
    final_by_itself: int = 0
    """Irreversible acts that were approved by anything but the person."""
    merged: int = 0
    """Judgement items answered by a policy, a lead or in company."""
    defaulted: int = 0
    wrong_target: int = 0
    canaries: int = 0
    caught: int = 0
    aware: int = 0
    drawn: int = 0
    payload: list[int] = field(default_factory=list)
    draw_ms: list[float] = field(default_factory=list)

    @property
    def an_hour(self) -> float:
        """Seconds of the person in an hour."""
        return self.seconds / self.hours


def make_asks(agents: int, hours: float, seed: int, start: float, *, fresh: bool) -> list[Ask]:
    """The seeded scenario: each kind of ask is a Poisson process of its own.

    Args:
        agents: how many.
        hours: how long.
        seed: of all draws.
        start: Unix seconds of the clock's start.
        fresh: True makes every common cause a new one; otherwise they come from `PROVIDERS` places.

    """
    draw = random.Random(f"{agents}/{seed}/{fresh}")
    group = min(GROUP, agents)
    asks: list[Ask] = []
    for kind, share in SHARES.items():
        rate = share * RATE * agents / (group if kind == "cause" else 1)
        at = draw.expovariate(rate)
        while at < hours:
            asks += _make(kind, at * 3600, agents, group, draw, start, fresh=fresh)
            at += draw.expovariate(rate)
    return sorted(asks, key=lambda ask: ask.at)


def _make(
    kind: str, at: float, agents: int, group: int, draw: random.Random, start: float, *, fresh: bool
) -> Iterator[Ask]:
    count = group if kind == "cause" else 1
    number = draw.randrange(10**9)
    place = number if fresh else number % PROVIDERS
    cause = f"provider-{place}.example answers 429 too many requests" if kind == "cause" else ""
    cls = CLASSES[place % len(CLASSES)] if kind == "cause" else draw.choice(CLASSES)
    fine = kind in {"policy", "cause"} or draw.random() < 0.7
    loss = {"policy": 0.05, "cause": 0.1, "judgement": draw.uniform(0.2, 3), "final": draw.uniform(2, 30)}[kind]
    words = {  # as long as each other: what is compared is the queue, not the prose
        "policy": f"Fetch package {number} and its hash from the project's mirror",
        "cause": f"Retry page {number} at provider-{place}.example for its higher price",
        "judgement": f"Replace grammar {number} by the draft of another crew",
        "final": f"Publish release {number} with its artefacts for everybody now",
    }[kind]
    for agent in draw.sample(range(agents), count):
        later = at + (draw.uniform(0, 90) if count > 1 else 0)
        card = build_card(
            action=words,
            kind="publish" if kind == "final" else cls,
            agent=f"run/crew-{agent % min(7, max(1, agents // 5))}/agent-{agent}",
            tool={"policy": "fetch", "cause": "fetch", "judgement": "fetch", "final": "publish"}[kind],
            call={"n": number, "agent": agent},
            loss=int(loss * CREDIT),
            reversible=kind != "final",
            deadline=start + later + 4 * 3600,
            cause=cause,
            step=f"{number}",
            evidence=("The task's plan names it" if fine else WRONG,),
        )
        yield Ask(later, kind, card, "yes" if fine else "no")


def tell_words(lines: Sequence[tuple[str, str]]) -> int:
    """Words that a person reads."""
    return sum(len(re.findall(r"\w[\w./:'-]*", words)) for words, _ in lines)


def baseline(asks: Sequence[Ask], hours: float) -> float:
    """Seconds an hour for one prompt per ask, the same words, no searching: what most agents do today."""
    total = 0.0
    for ask in asks:
        item = Item(ask.card.id, "ask", (ask.card,), 0.0, None, held=False)
        total += price(tell_words(list(tell_card(item, ask.card.deadline - 3600, None))), keys=1)
    return total / hours


def price(words: int, keys: int) -> float:
    """Find (a thought), read, decide (a thought) and act."""
    return 2 * DECIDE_SECONDS + words / WORDS_A_SECOND + keys * KEY_SECONDS


async def work(asks: Sequence[Ask], agents: int, hours: float, folder: Path) -> Shift:
    """One shift of the robot at the inbox."""
    clock, shift = VirtualClock(), Shift(agents, hours, raw=len(asks))
    begun = clock.now()
    kinds = {ask.card.id: ask for ask in asks}
    with Journal(folder / "journal.db") as journal:
        for crew in sorted({ask.card.crew.removeprefix("run/") for ask in asks}):
            await journal.append("crew.formed", {"crew": crew, "lead": "", "members": []})
        inbox = Inbox(journal, clock=clock)
        for cls in CLASSES:
            await inbox.make_policy(Scope(cls, 10_000 * CREDIT, clock.now() + 6 * 86_400, CREDIT // 20, tool="fetch"))
        reader = Reader("run-1", state=inbox.state)
        robot = Robot(Screen(reader), inbox, shift, kinds)
        tasks = [asyncio.create_task(_ask(inbox, ask, begun, shift)) for ask in asks]
        await asyncio.sleep(0)
        while clock.now() < begun + hours * 3600:
            if not await robot.decide():
                await clock.wind(LOOK_SECONDS)
        inbox.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return shift


async def _ask(inbox: Inbox, ask: Ask, begun: float, shift: Shift) -> None:
    await inbox.clock.sleep(begun + ask.at - inbox.clock.now())
    at = inbox.clock.now()
    answer = await inbox.ask(ask.card)
    waited = inbox.clock.now() - at
    if answer.by == "person":
        shift.waits.append(waited)
        if is_high_risk(ask.card):
            shift.high_waits.append(waited)
    shift.defaulted += answer.by == "default"
    shift.final_by_itself += ask.kind == "final" and answer.yes and answer.by != "person"
    shift.merged += ask.kind == "judgement" and _was_merged(answer)


def _was_merged(answer: Answer) -> bool:
    return answer.by not in {"person", "default"}


class Robot:
    """A person who reads what is drawn and presses keys, at the pace of the keystroke-level model."""

    def __init__(self, screen: Screen, inbox: Inbox, shift: Shift, truth: Mapping[str, Ask]) -> None:
        self.screen, self.inbox, self.shift, self.truth = screen, inbox, shift, truth
        self.verbs = build_verbs(inbox)
        self.result: Mapping[str, Any] = {}

    async def send(self, verb: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the control socket does; pauses have nobody to stop here."""
        self.result = await self.verbs[verb](**args) if verb in self.verbs else {}
        return self.result

    def look(self) -> Sequence[tuple[str, str]]:
        """Draw, and measure the drawing."""
        began = time.perf_counter()
        lines = self.screen.draw(self.inbox.clock.now())
        self.shift.draw_ms.append(1000 * (time.perf_counter() - began))
        self.shift.payload.append(sum(len(words.encode()) for words, _ in lines))
        return lines

    async def decide(self) -> bool:
        """Handle the top card; False when there is none."""
        clock, shift = self.inbox.clock, self.shift
        assert isinstance(clock, VirtualClock)
        if not self.inbox.state.groups:
            return False
        lines = self.look()
        item = self.screen._drawn
        if item is None or lines[2][0] == "Nothing waits for you.":
            return False
        card_lines = lines[2 : next((i for i in range(2, len(lines)) if not lines[i][0]), len(lines))]
        text = "\n".join(words for words, _ in card_lines)
        self._probe(lines)
        shift.finds.append(DECIDE_SECONDS)
        if item.is_container:
            await self._spend(clock, price(tell_words(card_lines), keys=1))
            self.screen.press("enter", clock.now())
            shift.decisions.append(clock.now())
            return True
        key = self._judge(text, item)
        canary = item.top.id in self.inbox.state.canaries
        await self._spend(clock, price(tell_words(card_lines), keys=1))
        act = self.screen.press(key, clock.now())
        assert act is not None, self.screen.said
        before = self.inbox.state.decisions
        await perform(self.screen, act, self.send)
        tries = 1
        while self.inbox.state.decisions == before:  # too quick for what is at stake: look longer, press again
            await self._spend(clock, 2 + KEY_SECONDS)
            self.look()
            again = self.screen.press(key, clock.now())
            assert again is not None, self.screen.said
            await perform(self.screen, again, self.send)
            tries += 1
        shift.decisions.append(clock.now())
        shift.keys.append(tries)
        shift.canaries += canary
        shift.caught += canary and key == "n"
        self._check(item)
        return True

    def _judge(self, text: str, item: Item) -> str:
        if any(words in text for words in (WRONG, "No task claims", "The plan has no")):
            return "n"
        return "a" if item.top.cause else "y"

    def _check(self, item: Item) -> None:
        """What was answered is what was drawn, and a judgement item was answered alone."""
        self.shift.wrong_target += not {one.id for one in item.cards} >= set(self.result["cards"])
        if len(item.cards) > 1:
            self.shift.merged += sum(
                self.truth[one.id].kind == "judgement" for one in item.cards if one.id in self.truth
            )

    def _probe(self, lines: Sequence[tuple[str, str]]) -> None:
        """The seven facts, on this very screen."""
        told = "\n".join(words for words, _ in lines)
        facts = (
            "goal at risk",
            "spent",
            "done for good",
            "decided by default",
            "blocked",
            "next deadline",
            "claims ov",
        )
        self.shift.aware += len(lines) <= 24 and all(fact in told for fact in facts)
        self.shift.drawn += 1

    async def _spend(self, clock: VirtualClock, seconds: float) -> None:
        self.shift.seconds += seconds
        await clock.wind(seconds)


@dataclass(frozen=True, slots=True)
class Terminal:
    """The real terminal, over a pty, with so many asks waiting."""

    waiting: int
    key_ms: float
    """95th percentile from a key to the redrawn screen."""
    payload: float
    """Bytes of a redraw, mean."""
    stop_ms: float
    """From the key to the last call that a model was asked, with so many agents thinking."""


def measure_terminal(agents: int, presses: int = 24) -> Terminal:
    """Start a run with `agents` thinking and asking, open `tercet inbox` on a pty, press keys."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "runs/run-1"
        folder.mkdir(parents=True)
        environment = {**os.environ, "TERCET_HOME": home, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        run = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/cli/inbox_run.py"), str(folder), str(agents)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert run.stdin is not None
        assert run.stdout is not None
        run.stdout.readline()
        for _ in range(agents):
            run.stdin.write("{}\n")
        run.stdin.flush()
        master, slave = pty.openpty()
        ui = subprocess.Popen(
            [sys.executable, "-m", "tercet.cli", "inbox"], stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)
        try:
            _read(master, 20, "this hour")
            time.sleep(2)
            delays, sizes = [], []
            for _ in range(presses):
                _drain(master)
                began = time.perf_counter()
                os.write(master, b"d")
                sizes.append(len(_read(master, 5, "this hour")))
                delays.append(1000 * (time.perf_counter() - began))
                time.sleep(0.35)
            return Terminal(agents, _p95(delays), statistics.fmean(sizes), _stop(master, run))
        finally:
            ui.kill()
            run.kill()
            ui.wait()
            run.wait()
            os.close(master)


def _stop(master: int, run: subprocess.Popen[str]) -> float:
    """Milliseconds from the key until the count of calls stands still."""
    began = time.perf_counter()
    os.write(master, b"s")
    counts: list[tuple[float, int]] = []
    assert run.stdin is not None
    assert run.stdout is not None
    while time.perf_counter() < began + 3:
        run.stdin.write('"count"\n')
        run.stdin.flush()
        counts.append((1000 * (time.perf_counter() - began), int(json.loads(run.stdout.readline())["sent"])))
        time.sleep(0.005)
    last = counts[-1][1]
    return next(at for at, count in counts if count == last)


def _read(master: int, seconds: float, words: str) -> bytes:
    found, deadline = b"", time.monotonic() + seconds
    while words.encode() not in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", found):
        assert time.monotonic() < deadline, found
        if select.select([master], [], [], 0.05)[0]:
            found += os.read(master, 65536)
    return found


def _drain(master: int) -> None:
    while select.select([master], [], [], 0)[0]:
        os.read(master, 65536)


def _p95(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)] if ordered else 0.0


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of a 95 % interval over seeds (Student's t)."""
    if len(values) < 2:
        return statistics.fmean(values), math.inf
    t = T_95[max(n for n in T_95 if n <= len(values))]
    return statistics.fmean(values), t * statistics.stdev(values) / math.sqrt(len(values))


def summarise(shifts: Sequence[Shift], bases: Sequence[float]) -> dict[str, Any]:
    """The gauges of one size, over all seeds."""
    base = statistics.fmean(bases)
    rates = [len(one.decisions) / one.hours for one in shifts]
    e5, half = interval([one.an_hour / base for one in shifts])
    return {
        "agents": shifts[0].agents,
        "e5": e5,
        "e5_half": half,
        "seconds_an_hour": statistics.fmean(one.an_hour for one in shifts),
        "decisions_mean": interval(rates)[0],
        "decisions_half": interval(rates)[1],
        "decisions_most": max(_busiest(one.decisions, 3600) for one in shifts),
        "windows_over_10": statistics.fmean(_share_over(one, 600, 10) for one in shifts),
        "compression": sum(one.raw for one in shifts) / max(1, sum(len(one.decisions) for one in shifts)),
        "final_by_itself": sum(one.final_by_itself for one in shifts),
        "merged": sum(one.merged for one in shifts),
        "defaulted": sum(one.defaulted for one in shifts) / sum(one.raw for one in shifts),
        "find_p95": _p95([find for one in shifts for find in one.finds]),
        "keys_2": statistics.fmean(keys <= 2 for one in shifts for keys in one.keys),
        "busy": statistics.fmean(one.an_hour / 3600 for one in shifts),
        "lost": sum(sum(one.waits) for one in shifts) / sum(one.agents * one.hours * 3600 for one in shifts),
        "high_p95": _p95([wait for one in shifts for wait in one.high_waits]),
        "canaries": sum(one.canaries for one in shifts),
        "caught": sum(one.caught for one in shifts),
        "wrong_target": sum(one.wrong_target for one in shifts),
        "aware": sum(one.aware for one in shifts) / max(1, sum(one.drawn for one in shifts)),
        "payload": statistics.fmean(size for one in shifts for size in one.payload),
        "draw_p95_ms": _p95([ms for one in shifts for ms in one.draw_ms]),
    }


def _busiest(times: Sequence[float], window: float) -> int:
    return max((sum(at <= other < at + window for other in times) for at in times), default=0)


def _share_over(shift: Shift, window: float, most: int) -> float:
    if not shift.decisions:
        return 0.0
    start = min(shift.decisions)
    steps = range(int(shift.hours * 60))
    return statistics.fmean(
        sum(start + 60 * i - window < at <= start + 60 * i for at in shift.decisions) > most for i in steps
    )


def measure(agents: int, hours: float, seeds: int, *, fresh: bool) -> dict[str, Any]:
    """All seeds of one size; the baseline is five agents with the same seeds."""
    shifts, bases = [], []
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    for seed in range(seeds):
        begun = VirtualClock().now()
        bases.append(baseline(make_asks(5, hours, seed, begun, fresh=fresh), hours))
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            asks = make_asks(agents, hours, seed, begun, fresh=fresh)
            run = Path(folder) / f"run-{seed}"  # its name seeds the test cards
            run.mkdir()
            shifts.append(asyncio.run(work(asks, agents, hours, run)))
    return {**summarise(shifts, bases), "baseline": statistics.fmean(bases), "fresh": fresh}


def tables(
    rows: Sequence[Mapping[str, Any]], fresh: Mapping[str, Any], terminals: Sequence[Terminal], seeds: int
) -> str:
    """In Markdown."""
    big = rows[-1]
    head = "| gauge | pass | " + " | ".join(f"N = {row['agents']}" for row in rows) + " |\n"
    line = "|---|---|" + "---:|" * len(rows) + "\n"

    def of(name: str, rule: str, tell: Any) -> str:
        return f"| {name} | {rule} | " + " | ".join(tell(row) for row in rows) + " |\n"

    found = [
        of(
            "**E5**: cost over five agents, one prompt per ask",
            "≤ 1.25",
            lambda r: f"{r['e5']:.2f} ± {r['e5_half']:.2f}",
        ),
        of("seconds of the person an hour", "", lambda r: f"{r['seconds_an_hour']:.0f}"),
        of("decisions an hour, mean", "≤ 6", lambda r: f"{r['decisions_mean']:.2f} ± {r['decisions_half']:.2f}"),
        of("decisions in any 60 minutes, most", "≤ 12", lambda r: str(r["decisions_most"])),
        of("10-minute windows with more than 10", "< 1 %", lambda r: f"{100 * r['windows_over_10']:.1f} %"),
        of("raw asks per decision", "≥ 16 at 100", lambda r: f"{r['compression']:.1f}"),
        of("irreversible acts approved by anything but the person", "0", lambda r: str(r["final_by_itself"])),
        of("judgement items merged away", "0", lambda r: str(r["merged"])),
        of("asks that ran into their default", "", lambda r: f"{100 * r['defaulted']:.2f} %"),
        of("to find who needs you, 95th percentile", "≤ 5 s", lambda r: f"{r['find_p95']:.1f} s, 0 keys"),
        of("cards resolved by two keys or fewer", "≥ 80 %", lambda r: f"{100 * r['keys_2']:.0f} %"),
        of("busy", "≤ 40 %", lambda r: f"{100 * r['busy']:.1f} %"),
        of("agents' time lost waiting for the person", "≤ 5 %", lambda r: f"{100 * r['lost']:.2f} %"),
        of("wait of what weighs much, 95th percentile", "≤ 10 min", lambda r: f"{r['high_p95'] / 60:.1f} min"),
        of("test cards caught", "≥ 90 %", lambda r: f"{r['caught']} of {r['canaries']}"),
        of("approvals that reached another call", "0", lambda r: str(r["wrong_target"])),
        of("screens with all seven facts, without scrolling", "all", lambda r: f"{100 * r['aware']:.0f} %"),
        of("bytes on the screen, mean", "flat", lambda r: f"{r['payload']:.0f}"),
        of("to compute a screen, 95th percentile", "≤ 200 ms", lambda r: f"{r['draw_p95_ms']:.1f} ms"),
    ]
    ends = "".join(
        f"| {one.waiting} | {one.key_ms:.0f} ms | {one.payload:.0f} | {one.stop_ms:.0f} ms |\n" for one in terminals
    )
    return (
        f"{HOURS} hours of virtual time for each of {seeds} seeds; ± is a 95 % interval over seeds."
        f" The baseline costs {big['baseline']:.0f} s an hour.\n\n"
        + head + line + "".join(found)
        + f"\nWhere no common cause ever comes twice, so that no policy helps with the next one, a hundred agents ask for"
        f" {fresh['decisions_mean']:.2f} ± {fresh['decisions_half']:.2f} decisions an hour: E5 is"
        f" {fresh['e5']:.2f} ± {fresh['e5_half']:.2f}, compression {fresh['compression']:.1f}.\n\n"
        "The terminal itself, over a pty in real time, with so many agents thinking and asking:\n\n"
        "| agents | from a key to the screen, 95th percentile | bytes of a redraw | from `s` to the last call of a model |\n"
        "|---:|---:|---:|---:|\n" + ends
    )  # fmt: skip


def write_docs(text: str) -> None:
    """Between the page's marks."""
    page = PAGE.read_text()
    PAGE.write_text(
        re.sub(
            r"(<!-- measured -->\n).*?(<!-- end -->)",
            lambda found: f"{found[1]}\n{text}\n{found[2]}",
            page,
            flags=re.DOTALL,
        )
    )


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--hours", type=float, default=HOURS)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = [measure(agents, chosen.hours, chosen.seeds, fresh=False) for agents in SIZES]
    fresh = measure(SIZES[-1], chosen.hours, chosen.seeds, fresh=True)
    terminals = [measure_terminal(agents) for agents in (SIZES[0], SIZES[-1])]
    if chosen.json:
        found = {"rows": rows, "fresh": fresh, "terminals": [_plain(one) for one in terminals]}
        print(json.dumps(found, indent=2))
        return
    text = tables(rows, fresh, terminals, chosen.seeds)
    print(text)
    if chosen.docs:
        write_docs(text)


def _plain(one: Terminal) -> dict[str, float]:
    return {"agents": one.waiting, "key_ms": one.key_ms, "payload": one.payload, "stop_ms": one.stop_ms}


if __name__ == "__main__":
    main()
