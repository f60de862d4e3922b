"""What is asked and answered: cards and answers. Values and the rules that bind them; no clock, no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from tercet.errors import CardError
from tercet.swarm.inbox.replies import Reply, validate_options

__all__ = [
    "APPROVAL_SECONDS",
    "MEMBRANE",
    "QUESTION",
    "SPENDING",
    "Answer",
    "Card",
    "Choice",
    "build_card",
    "crew_of",
    "digest_call",
    "may_absorb",
    "parse_card",
    "under",
]

Choice: TypeAlias = Literal["yes", "no"]

MEMBRANE: Mapping[str, str] = {
    "money": "pay or promise money",
    "budget": "spend more than was set aside",
    "network": "reach a machine outside",
    "publish": "show something to others, for good",
    "memory": "put something into the memory that all agents share",
    "people": "write to a person",
    "files": "touch files outside the run's own copies",
    "commands": "run something outside the sandbox",
}
"""The classes that may ask: what crosses the sandbox's wall. Inside it nothing ever asks. A class may be narrower, such
as `network:example.org`."""
SPENDING = frozenset({"money", "budget"})
"""What is lost there is bounded by the amount, so a policy may cover it; but silence never spends."""
SILENT = SPENDING | {"people"}
"""Silence is no: it spends nothing, and it is no answer to a question."""
JUDGEMENT = SPENDING | {"publish", "memory"}
"""What an agent never answers for the person, not even a lead."""
QUESTION = "ask"
"""The tool of a card that asks for no act, only for an answer."""
APPROVAL_SECONDS = 900.0
"""For so long a yes may be used; an agent that comes later asks again."""
LONGEST = 400
"""Characters of a line that somebody else wrote."""


def digest_call(tool: str, arguments: Mapping[str, Any]) -> str:
    """sha256 of the exact call, in hex: the tool and its arguments as compact JSON with sorted keys."""
    text = json.dumps([tool, arguments], sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def under(node: str, parent: str) -> bool:
    """Whether `node` is `parent` or lies below it, as `run/crew/fixer-1` lies below `run/crew`."""
    return node == parent or node.startswith(parent + "/")


def crew_of(node: str) -> str:
    """Node path of an agent's crew."""
    return "/".join(node.split("/")[:2])


@dataclass(frozen=True, slots=True)
class Card:
    """One ask. There is no field for a priority: rank follows from what is at stake."""

    id: Annotated[str, Field(max_length=64)]
    """From agent, task, step and call: the same ask after a resume has the same id."""
    action: str
    """What is wanted, for a person: `Pay 2 credit to 0xab.. for 40 labels`."""
    kind: str
    """Its class: a name of `MEMBRANE`, or `name:detail`."""
    agent: str
    """Node path of who asks, such as `run/fixers/coder-1`."""
    tool: str
    """Which tool would be called."""
    digest: str
    """Of the exact call, see `digest_call`: an answer holds for this call only."""
    deadline: float
    """Unix seconds: then the default holds."""
    loss: int
    """Credit units that are lost if the answer is wrong; the kernel's estimate, not the agent's."""
    reversible: bool
    """False: it cannot be undone. No policy ever says yes to it, and silence means no."""
    cause: str = ""
    """What made many ask at once: an error, a provider. Empty: this call alone, which is never merged with another."""
    task: str = ""
    step: str = ""
    """Idempotency key of the step that asks."""
    evidence: tuple[str, ...] = ()
    """What speaks for it or against it, a line each."""
    options: tuple[str, ...] = ()
    """Of a question: the answers that its asker names. The person chooses one, or says something else."""

    @property
    def default(self) -> Choice:
        """What silence means: what can be undone goes on; what cannot, or spends, is not done."""
        return "yes" if self.reversible and self.kind.partition(":")[0] not in SILENT else "no"

    @property
    def is_question(self) -> bool:
        """Whether it asks for no act: then words answer it."""
        return self.tool == QUESTION

    @property
    def crew(self) -> str:
        """Node path of the asking agent's crew."""
        return crew_of(self.agent)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the journal."""
        told = {"evidence": list(self.evidence), "options": list(self.options)}
        return {**asdict(self), **told, "class": self.kind, "default": self.default}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was decided about one card."""

    card: str
    choice: Reply
    """words: it is a question's, see `words`; no act is approved by it."""
    by: str
    """`person`, `policy:ID`, `lead:CREW`, `default`, or `kernel` (the asking agent was ended)."""
    digest: str
    """Of the call it holds for."""
    at: float
    expires: float
    """Unix seconds: a yes that was not used by then is void."""
    why: str = ""
    """Of a lead's: its words."""
    dwell: float = 0.0
    """Of a person's: seconds between showing the card and the answer."""
    words: str = ""
    """Of a person's to a question: what they said, or the option that they chose."""

    @property
    def yes(self) -> bool:
        """Whether it may be done."""
        return self.choice == "yes"


def may_absorb(card: Card, high_loss: int) -> bool:
    """Whether a crew's lead may answer this card: it can be undone, costs little, and is not the person's to judge."""
    return card.reversible and card.loss < high_loss and card.kind.partition(":")[0] not in JUDGEMENT


def build_card(
    *, action: str, kind: str, agent: str, tool: str, call: Mapping[str, Any], loss: int, reversible: bool,
    deadline: float, cause: str = "", task: str = "", step: str = "", evidence: Sequence[str] = (),
    digest: str = "", options: Sequence[str] = (),
) -> Card:  # fmt: skip
    """A card for one exact call.

    Args:
        action: what is wanted, for a person.
        kind: its class, see `MEMBRANE`.
        agent: node path of who asks.
        tool: the tool.
        call: its arguments, as JSON.
        loss: credit units lost if the answer is wrong.
        reversible: whether it can be undone.
        deadline: Unix seconds.
        cause: what made many ask at once; empty: nothing but this call.
        task: the task it is for.
        step: idempotency key of the step.
        evidence: what speaks for or against it.
        digest: of the exact call, if whoever makes it has one of its own; `digest_call` otherwise.
        options: of a question: the answers that its asker names.

    Raises:
        CardError: it names no action, no class at the membrane, no agent, no loss or no deadline.

    """
    digest = digest or digest_call(tool, call)
    name = hashlib.sha256(f"{agent}\x00{task}\x00{step}\x00{digest}".encode()).hexdigest()[:10]
    shown = tuple(_one_line(line) for line in evidence)
    card = Card(
        name,
        _one_line(action),
        kind,
        agent,
        tool,
        digest,
        deadline,
        loss,
        reversible,
        cause,
        task,
        step,
        shown,
        tuple(options),
    )
    validate_card(card)
    return card


def validate_card(card: Card) -> None:
    """An ask exists only if it names action, deadline, default and loss, and comes from the membrane.

    Raises:
        CardError: otherwise.

    """
    missing = [
        words
        for words, there in (
            ("the action it wants", card.action.strip()),
            ("the agent that asks", card.agent.split("/")[0] == "run" and all(card.agent.split("/"))),
            ("a deadline", card.deadline > 0),
            ("the loss if it is wrong (0 or more credit units)", card.loss >= 0),
            ("the digest of its call", card.digest),
        )
        if not there
    ]
    if missing:
        raise CardError(f"An ask has to name {' and '.join(missing)}. What names less belongs into the log.")
    if card.kind.partition(":")[0] not in MEMBRANE:
        raise CardError(
            f"{card.kind!r} does not ask: only what leaves the sandbox does ({', '.join(MEMBRANE)}). Do it inside, or"
            " name the class it belongs to."
        )
    validate_options(card.options)
    if card.options and not card.is_question:
        raise CardError("Only a question has options. An act is approved or not.")


def _one_line(text: str) -> str:
    """Agents write these words: control characters would let them draw over the screen."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def parse_card(raw: Any) -> Card:
    """Read a card from a journal.

    Raises:
        CardError: it is none.

    """
    try:
        return _CARD.validate_python(raw)
    except ValidationError as error:
        raise CardError(f"This is no card: {error.errors()[0]['msg']}.") from error


_CARD = TypeAdapter(Card)
