"""The inbox's screen as a value: keys in, lines and acts out. It knows no terminal, so a robot can work it as people do.

A key always means the card that was drawn, never one that took its place meanwhile, and an answer covers only what had
come when it was drawn. The card before the person stays there until it is answered, whatever comes in above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tercet.cli.inbox.draft import Draft
from tercet.cli.inbox.reader import Reader
from tercet.cli.inbox.words import crop, fold, pack, tell_card, tell_policy, tell_row, tell_span
from tercet.market import CREDIT, Amount
from tercet.swarm.inbox import MOST_WORDS, Item, Queue
from tercet.swarm.inbox.queue import open_container
from tercet.swarm.inbox.stamps import Proposal, propose

__all__ = ["Act", "Line", "Screen", "Verb"]

Line: TypeAlias = tuple[str, str]
"""Words and their style."""
Verb: TypeAlias = Literal["answer", "pause", "resume", "kill", "revoke", "quit"]
FRESH_SECONDS = 0.3
"""A key that comes sooner after the card has changed was meant for the one before."""
POLICY_SECONDS = 4 * 3600.0
POLICY_CALLS, POLICY_TIMES = 50, 10
"""A policy by one key lets through so many calls like the dearest on the card, or so many times all on it."""
KEYS = (
    "y yes", "n no", "a yes, and for this class", "p pause who asks", "c its crew", "s everything", "r resume",
    "k kill", "↓ next", "↑ back", "enter open", "esc close", "o policies", "d digest", "q quit",
)  # fmt: skip
TYPING_KEYS = ("enter sends", "esc drops")


@dataclass(frozen=True, slots=True)
class Act:
    """What a key asks the run to do."""

    verb: Verb
    args: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""
    """What to say once it is done."""


@dataclass(slots=True)
class Screen:
    """One person's view of one run."""

    reader: Reader
    opened: str = ""
    """Id of the container that is open."""
    chosen: str = ""
    """Id of the card before the person."""
    policies: bool = False
    digest: bool = True
    said: str = ""
    draft: Draft | None = None
    """The answer in words that is being typed: until it is sent, keys are its letters."""
    _since: float = 0.0
    _drawn: Item | None = None
    _seen: int = 0
    _kill: str = ""
    _paused: str = ""
    _row: int = 0

    def items(self, now: float) -> Sequence[Item]:
        """What can be answered here, ranked."""
        return self._items(self.reader.queue(now))

    def _items(self, queue: Queue) -> Sequence[Item]:
        if self.opened:
            box = next((item for item in queue.items if item.id == self.opened), None)
            if box is not None:
                return open_container(self.reader.state, box)
            self.opened = ""
        return queue.items

    def draw(self, now: float, width: int = 80, height: int = 24) -> Sequence[Line]:
        """The lines, at most `height` of them, none wider than `width` columns; remembers what was drawn, for the next key.

        Nothing of the card before the person is cut off: who says yes has read to what. The rest gives way to it.
        """
        queue = self.reader.queue(now)
        items = self._items(queue)
        item = next((one for one in items if one.id == self.chosen), items[0] if items else None)
        if (item.id if item else "") != (self._drawn.id if self._drawn else ""):
            self._since, self._kill = now, ""
            if self.draft is not None:
                self.said, self.draft = "What you were answering is no longer before you; nothing was sent.", None
        self._drawn, self._seen, self.chosen = item, self.reader.state.seq, item.id if item else ""
        body = self._policies(now) if self.policies else self._body(queue, items, item, now, width)
        foot = [(row, "dim") for row in pack(KEYS if self.draft is None else TYPING_KEYS, width)]
        told = [self._head(queue, now), (self.said, "green"), *body]
        lines = [(row, style) for words, style in told[2:] for row in fold(words, width)]
        top = [(crop(words, width), style) for words, style in told[:2]]
        return [*top, *lines[: max(0, height - len(top) - len(foot))], *foot]

    def press(self, key: str, now: float) -> Act | None:
        """What a key does; moving about does nothing to the run.

        Args:
            key: a character, or `up`, `down`, `enter`, `esc`; while an answer is typed, a letter of it.
            now: Unix seconds.

        """
        self.said = ""
        if self.draft is not None:
            return self._press_draft(key, self.draft, now)
        if self.policies:
            return self._press_policies(key)
        if (moved := _MOVES.get(key)) is not None:
            self._move(moved, now)
            return None
        item = self._drawn
        match key:
            case "q":
                return Act("quit")
            case "o":
                self.policies, self._row = True, 0
            case "d":
                self.digest = not self.digest
            case "esc":
                self.opened, self.chosen = "", ""
            case "s":
                self._paused = "run"
                return Act("pause", {"node": "run"}, "Everything is paused; r resumes.")
            case "r":
                return Act("resume", {"node": self._paused or "run"}, f"{self._paused or 'run'} goes on.")
            case _ if item is not None:
                return self._press_item(key, item, now)
        return None

    def _press_item(self, key: str, item: Item, now: float) -> Act | None:
        if (key in "yna" or key.isdigit()) and now - self._since < FRESH_SECONDS:
            self.said = "The card had just changed. Look, then press again."
            return None
        match key:
            case "enter":
                if item.is_container:
                    self.opened, self.chosen = item.id, ""
            case "p" | "c":
                self._paused = item.node if key == "p" else "/".join(item.node.split("/")[:2])
                return Act("pause", {"node": self._paused}, f"{self._paused} is paused; r resumes.")
            case "k":
                if self._kill != item.id:
                    self._kill, self.said = item.id, f"k again kills {item.node}."
                    return None
                return Act("kill", {"node": item.node}, f"{item.node} is killed.")
            case "t" if item.top.is_question and not item.is_container:
                self.draft = Draft(item.id)
            case "y" | "n" | "a":
                return self._answer(key, item, now)
            case _ if key.isdigit() and 0 < int(key) <= len(item.top.options) and not item.is_container:
                return self._say(item, item.top.options[int(key) - 1], now)
        return None

    def _press_draft(self, key: str, draft: Draft, now: float) -> Act | None:
        match draft.press(key):
            case "drop":
                self.draft = None
            case "send" if self._drawn is not None and self._drawn.id == draft.card:
                self.draft = None
                return self._say(self._drawn, draft.text.strip(), now)
        if len(draft.text) == MOST_WORDS:
            self.said = f"An answer has at most {MOST_WORDS} characters; what you type beyond is left out."
        return None

    def say(self, words: str, now: float) -> Act | None:
        """Answer the question before the person in words, all at once; nothing where it is none."""
        item = self._drawn
        if item is None or item.is_container or not item.top.is_question:
            self.said = "Only a question is answered in words."
            return None
        return self._say(item, words, now)

    def take_back(self, act: Act) -> None:
        """What was said was not taken: the line stands there again, so that nobody types it twice."""
        words, card = act.args.get("words"), act.args.get("card")
        if words and self._drawn is not None and self._drawn.id == card and words not in self._drawn.top.options:
            self.draft = Draft(self._drawn.id, words)

    def _say(self, item: Item, words: str, now: float) -> Act:
        """An answer in words."""
        args = {"card": item.id, "choice": "words", "words": words, "seen": self._seen}
        return Act("answer", {**args, "dwell": round(now - self._since, 3)}, f"Answered: {words[:50]}")

    def _answer(self, key: str, item: Item, now: float) -> Act | None:
        if item.is_container:
            self.said = "This card answers none of the asks behind it: enter opens it, p pauses who asks."
            return None
        if item.top.options:
            self.said = "It asks which one: press an option's digit, or t to type an answer."
            return None
        args = {
            "card": item.id,
            "choice": "no" if key == "n" else "yes",
            "seen": self._seen,
            "dwell": round(now - self._since, 3),
        }
        if key != "a":
            return Act("answer", args, f"{args['choice']}: {item.top.action[:50]}")
        if any(not card.reversible for card in item.cards):
            self.said = "What cannot be undone is approved one by one: y or n."
            return None
        scope = self._scope(item, now)
        bound = Amount(scope["up_to"], CREDIT)
        words = f"yes, and for {item.top.kind} up to {bound} for {tell_span(POLICY_SECONDS)}. o lists policies."
        return Act("answer", {**args, "scope": scope}, words)

    def _scope(self, item: Item, now: float) -> dict[str, Any]:
        """For this class, tool and cause; no call dearer than what is on the screen."""
        each = max(card.loss for card in item.cards)
        return {
            "kind": item.top.kind,
            "each": each,
            "up_to": max(POLICY_CALLS * each, POLICY_TIMES * sum(card.loss for card in item.cards)),
            "until": now + POLICY_SECONDS,
            "tool": item.top.tool,
            "cause": item.top.cause,
        }

    def _press_policies(self, key: str) -> Act | None:
        held = list(self.reader.state.policies.values())
        match key:
            case "up" | "down":
                self._row = min(max(0, self._row + (1 if key == "down" else -1)), max(0, len(held) - 1))
            case "x" if held:
                chosen = held[min(self._row, len(held) - 1)]
                return Act("revoke", {"policy": chosen.id}, f"{chosen.id} is revoked.")
            case "q" | "o" | "esc":
                self.policies = False
        return None

    def _move(self, step: int, now: float) -> None:
        ids = [item.id for item in self.items(now)]
        if not ids:
            return
        at = ids.index(self.chosen) if self.chosen in ids else 0
        self.chosen = ids[min(max(0, at + step), len(ids) - 1)]

    def _head(self, queue: Queue, now: float) -> Line:
        reader = self.reader
        hour = sum(at > now - 3600 for at, _ in reader.state.showings[-64:])
        spent, budget = Amount(reader.since.spent, CREDIT), Amount(reader.since.budget, CREDIT)
        held = f", {len(queue.held)} held back" if queue.held else ""
        waits = f"{len(queue.items)} for you{held} · {hour} of {reader.state.quotas.an_hour} decisions this hour"
        end = f" · {reader.ended}" if reader.ended else ""
        money = f"{spent} of {budget}".replace(f" {CREDIT.symbol}", "", 1)
        return f"{reader.run} · {waits} · {money}{end}", "reverse"

    def _body(self, queue: Queue, items: Sequence[Item], item: Item | None, now: float, width: int) -> Iterator[Line]:
        if item is None:
            yield "Nothing waits for you.", "bold"
        else:
            yield from tell_card(item, now, self._proposal(item))
            if self.draft is not None:
                yield f"> {self.draft.text}_", "bold"
            others = [one for one in items if one is not item]
            yield "", ""
            for one in others[:3]:
                yield tell_row(one, now, width), "dim"
            if len(others) > 3:
                yield f"and {len(others) - 3} more", "dim"
        if self.digest and not self.opened:
            yield "", ""
            for line in self.reader.since.lines(now):
                yield crop(line, width), "cyan"
        if queue.flood:
            yield "A flood: more than 10 new decisions in 10 minutes.", "yellow"

    def _proposal(self, item: Item) -> Proposal | None:
        if item.is_container or not item.top.reversible:
            return None
        return propose(self.reader.state.verdicts, item.top.kind)

    def _policies(self, now: float) -> Iterator[Line]:
        yield "Policies: ↑ ↓ choose, x revokes, o closes", "bold"
        for row, policy in enumerate(self.reader.state.policies.values()):
            yield ("> " if row == self._row else "  ") + "  ".join(tell_policy(policy, now)), ""
        if not self.reader.state.policies:
            yield "There is none. [a] on a card makes one.", ""


_MOVES = {"down": 1, "j": 1, "up": -1, "h": -1}
