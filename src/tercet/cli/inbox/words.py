"""How cards read: the lines of a card, of the queue, of policies, and how they fit a screen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len, chop_cells, set_cell_size

from tercet.market import CREDIT, Amount
from tercet.swarm.inbox import Item, Policy
from tercet.swarm.inbox.cards import SPENDING
from tercet.swarm.inbox.stamps import Proposal

__all__ = ["crop", "fold", "item_json", "pack", "tell_card", "tell_item", "tell_policy", "tell_row", "tell_span"]


def crop(words: str, width: int) -> str:
    """On one row of a screen `width` columns wide; what is cut off is marked. No control characters."""
    line = _plain(words)
    return line if cell_len(line) <= width else set_cell_size(line, width - 1) + "…"


def fold(words: str, width: int) -> list[str]:
    """All of it, on as many rows as it takes; later ones are indented as the first. No control characters."""
    line = _plain(words)
    if cell_len(line) <= width:
        return [line]
    indent = " " * min(len(line) - len(line.lstrip()), width // 2)
    rows, row = [], indent
    for word in line.split():
        for piece in chop_cells(word, width - len(indent)):
            if row.strip() and cell_len(row) + 1 + cell_len(piece) > width:
                rows.append(row)
                row = indent
            row += f" {piece}" if row.strip() else piece
    return [*rows, row]


def pack(words: Sequence[str], width: int, gap: str = "  ") -> list[str]:
    """Words that stay whole, as many to a row as fit."""
    rows = [""]
    for word in words:
        if rows[-1] and len(rows[-1]) + len(gap) + len(word) > width:
            rows.append("")
        rows[-1] += f"{gap}{word}" if rows[-1] else word
    return rows


def _plain(words: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in words)


def tell_span(seconds: float) -> str:
    """A span in the unit that fits."""
    if seconds < 0:
        return "0 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _credit(units: int) -> str:
    return str(Amount(units, CREDIT))


def tell_card(item: Item, now: float, proposal: Proposal | None) -> Iterator[tuple[str, str]]:
    """Lines of the card before the person, each with its style."""
    card = item.top
    if item.is_container:
        yield from _tell_container(item)
        return
    yield card.action, "bold"
    yield f"class {card.kind} · tool {card.tool} · asked by {_who(item)}", ""
    total = sum(one.loss for one in item.cards)
    risk = f"if wrong: {_credit(card.loss)} lost" + (f", {_credit(total)} for all" if len(item.cards) > 1 else "")
    undo = "bounded" if card.kind.partition(":")[0] in SPENDING else "can be undone"
    undo = undo if card.reversible else "CANNOT BE UNDONE"
    silence = "it goes on" if card.default == "yes" else "it is not done"
    silence = "it decides by itself" if card.is_question else silence
    yield f"{risk} · {undo}", "" if card.reversible else "red"
    yield f"if you are silent: {silence} in {tell_span(item.deadline - now)} · call {card.digest[:12]}", ""
    yield from ((f"[{number}] {option}", "bold") for number, option in enumerate(card.options, 1))
    if card.is_question:
        yield "[t] types an answer in words", ""
    if card.cause:
        yield f"cause, the same for all: {card.cause}", "yellow"
    for line in card.evidence:
        yield f"  {line}", "dim"
    if proposal is not None:
        yield f"You said yes to {proposal.yes} of the last {proposal.of} of this class; [a] makes it a policy.", "green"


def _who(item: Item) -> str:
    return item.top.agent if item.agents == 1 else f"{item.agents} agents under {item.node}"


def _tell_container(item: Item) -> Iterator[tuple[str, str]]:
    if item.shape == "stuck":
        yield f"{item.top.agent} keeps asking: it is stuck", "bold yellow"
        yield f"{len(item.cards)} asks are shelved behind this card; it answers none of them.", ""
    else:
        yield f"A flood: {len(item.cards)} asks of {item.agents} agents under {item.node}", "bold yellow"
        yield "They wait behind this card, which answers none of them; what cannot be undone is not among them.", ""
    yield f"The dearest: {item.top.action} ({_credit(item.top.loss)})", "dim"
    yield "[enter] open, [p] pause who asks, or let their defaults hold", ""


def tell_item(item: Item) -> str:
    """What is to be decided, or what a container holds."""
    return f"{item.shape}: {len(item.cards)} asks under {item.node}" if item.is_container else item.top.action


def tell_row(item: Item, now: float, width: int) -> str:
    """One line of the queue."""
    words = tell_item(item)
    many = f" x{len(item.cards)}" if len(item.cards) > 1 and not item.is_container else ""
    end = f"{many}  {item.top.kind}  {_credit(item.top.loss)}  {tell_span(item.deadline - now)}"
    room = max(10, width - cell_len(end))
    return crop(set_cell_size(crop(words, room), room) + end, width)


def tell_policy(policy: Policy, now: float) -> Sequence[str]:
    """Cells of a policy."""
    over = policy.until <= now
    return [
        policy.id,
        policy.choice,
        policy.kind + (f", {policy.tool}" if policy.tool else "") + (f", {policy.cause}" if policy.cause else ""),
        _credit(policy.each),
        f"{_credit(policy.used)} of {_credit(policy.up_to)}",
        "over" if over else tell_span(policy.until - now),
        str(policy.count),
        policy.by,
    ]


def item_json(item: Item) -> dict[str, Any]:
    """An item for programs."""
    return {
        "id": item.id,
        "shape": item.shape,
        "node": item.node,
        "agents": item.agents,
        "deadline": item.deadline,
        "held": item.held,
        "rank": round(item.rank, 3),
        "cards": [card.to_json() for card in item.cards],
    }
