"""The inbox on a terminal: raw keys in, at most four redraws a second out. On a terminal that cannot, line by line."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tercet.cli.inbox.screen import Act, Screen
from tercet.cli.terminal import whole_screen
from tercet.errors import TercetError

__all__ = ["DRAWS_A_SECOND", "Pace", "Send", "parse_keys", "perform", "show_lines", "show_screen"]

Send: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Asks the run to do a verb."""
DRAWS_A_SECOND = 4
POLL_SECONDS = 0.1
REFRESH_SECONDS = 5.0
"""So often spans such as "in 12 min" are told anew."""
_KEY = re.compile(r"\x1b[\[O]([A-D])|(\x1b(?:\[[0-9;]*[~A-Za-z])?)|([\r\n])|(.)", re.DOTALL)
_ARROWS = {"A": "up", "B": "down", "C": "down", "D": "up"}


class Clock(Protocol):
    """Tells the time."""

    def __call__(self) -> float:
        """Unix seconds."""
        ...


def parse_keys(data: bytes) -> Iterator[str]:
    """The keys in what a terminal sent; what is no key of ours comes as it is."""
    for match in _KEY.finditer(data.decode(errors="replace")):
        arrow, escape, enter, other = match.groups()
        yield _ARROWS[arrow] if arrow else "esc" if escape else "enter" if enter else other


@dataclass(slots=True)
class Pace:
    """At most four draws in any second, of which news may take three, so that a key always shows at once."""

    drawn: list[float] = field(default_factory=list)

    def allows(self, now: float, *, key: bool) -> bool:
        """Whether to draw now; if so, it counts."""
        self.drawn = [at for at in self.drawn if at > now - 1]
        if len(self.drawn) >= DRAWS_A_SECOND - (not key):
            return False
        self.drawn.append(now)
        return True


async def perform(screen: Screen, act: Act, send: Send) -> None:
    """Do it, and say what became of it on the screen."""
    try:
        result = await send(act.verb, act.args)
    except TercetError as error:
        screen.said = str(error)
        screen.take_back(act)
        return
    if result.get("status") == "again":
        screen.said = f"That was quick for what is at stake. Look {result['wait']:.0f} s longer, then press again."
        screen.take_back(act)
    elif result.get("canary"):
        caught = act.args.get("choice") == "no"
        screen.said = "A test card, and you caught it." if caught else "A test card: you approved it. Nothing was done."
    else:
        screen.said = act.words


async def show_screen(screen: Screen, send: Send, *, colour: bool, clock: Clock = time.time) -> None:
    """Until the person quits. Needs a terminal on stdin and stdout."""
    console = Console(no_color=not colour, highlight=False)
    keys: asyncio.Queue[str] = asyncio.Queue()
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        for key in parse_keys(os.read(descriptor, 1024)) if not loop.is_closed() else ():
            keys.put_nowait(key)

    with whole_screen(console) as live:
        loop.add_reader(descriptor, read)
        try:
            await _work(screen, send, keys, live, clock)
        finally:
            loop.remove_reader(descriptor)


async def _work(screen: Screen, send: Send, keys: asyncio.Queue[str], live: Live, clock: Clock) -> None:
    pace, stale, by_key, drawn = Pace(), True, True, 0.0
    while True:
        now = time.monotonic()
        stale = screen.reader.poll() or stale or now - drawn > REFRESH_SECONDS
        if stale and pace.allows(now, key=by_key):
            size = live.console.size
            live.update(_render(screen.draw(clock(), size.width, size.height)), refresh=True)
            stale, by_key, drawn = False, False, now
        try:
            key = await asyncio.wait_for(keys.get(), POLL_SECONDS)
        except TimeoutError:
            continue
        act = screen.press(key, clock())
        if act is not None and act.verb == "quit":
            return
        if act is not None:
            await perform(screen, act, send)
            screen.reader.poll()
        stale, by_key = True, True


def _render(lines: Any) -> Group:
    return Group(*(Text(words, style=style, no_wrap=True, overflow="crop") for words, style in lines))


def _press_line(screen: Screen, word: str, now: float) -> Act | None:
    """A line as keys: a named one, a letter, or `t WORDS`, which answers a question."""
    screen.draft = None  # a line is whole
    if word.startswith("t "):
        return screen.say(word[2:].strip(), now)
    return screen.press(word if word in {"up", "down", "enter", "esc"} else word[:1] or "d", now)


def show_lines(screen: Screen, send: Send, *, clock: Clock = time.time) -> None:
    """The same for a dumb terminal: the card, a question, one line for an answer, until the end of the input."""
    while True:
        screen.reader.poll()
        sys.stdout.write("\n".join(words for words, _ in screen.draw(clock())) + "\n> ")
        sys.stdout.flush()
        line = sys.stdin.readline()  # not in a loop's thread: Ctrl-C has to end the waiting
        if not line:
            return
        word = line.strip()
        act = _press_line(screen, word, clock())
        if act is not None and act.verb == "quit":
            return
        if act is not None:
            asyncio.run(perform(screen, act, send))
