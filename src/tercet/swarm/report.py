"""The report of a run: what was done, what each file cost and who made it, what was verified and how. From the journal alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tercet.market import CREDIT, Amount
from tercet.swarm.delivery import Delivery
from tercet.swarm.views import ArtefactView, CallView, RunState, TaskView

__all__ = ["describe_run", "render_report", "write_report"]

_WORDS = {
    "done": "The goal was met.",
    "failed": "The goal was not met.",
    "out_of_budget": "The budget is out; what was done is kept.",
    "stopped": "It was stopped; what was done is kept.",
}

_LIVE = re.compile(r"[\\`*\[\]<]|(?<![^\W_])_|_(?![^\W_])|^[#>]")
"""What Markdown makes something of. Within a word `_` stands for itself, so names stay as they are."""


class _Markdown(str):
    """Nothing in it is live that is not meant to be."""

    __slots__ = ()


def write_report(folder: Path, state: RunState, delivery: Delivery | None = None) -> None:
    """`report.md` and `report.json` in the run's folder."""
    found = describe_run(folder.name, state, delivery)
    told = {"report.json": json.dumps(found, indent=2, ensure_ascii=False) + "\n", "report.md": render_report(found)}
    for name, text in told.items():  # a journal may hold what no file can: half of a surrogate pair
        (folder / name).write_text(text, encoding="utf-8", errors="replace")


def describe_run(run: str, state: RunState, delivery: Delivery | None = None) -> dict[str, Any]:
    """The report as data."""
    return {
        "run": run,
        "goal": state.run.goal,
        "status": state.run.status or state.run.state,
        "why": state.run.why,
        "model": state.run.model,
        "gateway": state.run.gateway,
        "planned_by": state.run.planned_by,
        "approved_by": state.run.approved_by,
        "budget": _budget(state),
        "spent": state.spent().charged,
        "unknown": {"calls": len(state.unknown()), "booked": sum(call.charged for call in state.unknown())},
        # A call's cost may have become known after the end.
        "returned": max(0, _budget(state) - state.spent().charged) if state.run.status else state.run.returned,
        "seconds": round(max(0, (state.run.ended_ms or state.run.last_ms) - state.run.started_ms) / 1000, 1),
        "calls": state.spent().calls,
        "tokens": {"prompt": state.spent().prompt, "completion": state.spent().completion},
        "tasks": [_task(state, view) for view in state.tasks.values()],
        "contracts": [_contract(state, view, each) for view in state.tasks.values() for each in view.contracts],
        "files": [_file(state, view) for view in state.artefacts.values() if _is_done(state, view.task)],
        "receipts": [_receipt(call) for call in state.calls.values()],
        "delivered": None if delivery is None else _delivered(delivery),
    }


def _budget(state: RunState) -> int:
    limit = state.budgets["run"].credit if "run" in state.budgets else None
    return state.run.budget if limit is None else int(limit)


def _is_done(state: RunState, task: str) -> bool:
    """A task that failed when it was about to be merged, and was planned anew, is in no plan any more."""
    return task in state.tasks and state.tasks[task].state == "done"


def _task(state: RunState, view: TaskView) -> dict[str, Any]:
    spec: Mapping[str, Any] = next((task for task in state.run.plan.get("tasks", ()) if task["id"] == view.id), {})
    return {
        "id": view.id,
        "title": view.title,
        "role": view.role,
        "agent": view.agent,
        "state": view.state,
        "attempts": view.attempt,
        "why": view.why,
        "test": list(spec.get("done", {}).get("command", ())),
        "tested": view.tested,
        "passed": view.passed,
        "proof": view.proof,
        "spent": sum(call.charged for call in state.calls_of(task=view.id)),
        "calls": len(state.calls_of(task=view.id)),
    }


def _contract(state: RunState, view: TaskView, contract: Mapping[str, Any]) -> dict[str, Any]:
    """Who got a task after a call for proposals; empty where the planned role did, for want of offers."""
    agent = str(contract.get("agent", ""))
    return {
        "task": view.id,
        "contract": contract.get("contract", ""),
        "agent": agent,
        "lead": contract.get("lead", ""),
        "price": int(contract.get("price", 0)),
        "seconds": float(contract.get("seconds", 0.0)),
        "success_bps": int(contract.get("success_bps", 0)),
        "spent": sum(call.charged for call in state.calls_of(agent, view.id)) if agent else 0,
        "outcome": "failed" if contract.get("failed") else view.state,
        "why": contract.get("failed", "") or contract.get("why", ""),
        "offers": list(contract.get("offers", ())),
    }


def _file(state: RunState, view: ArtefactView) -> dict[str, Any]:
    calls = [state.calls[name] for name in view.receipts if name in state.calls]
    return {
        "path": view.path,
        "sha256": view.sha256,
        "bytes": view.bytes,
        "agent": view.agent,
        "task": view.task,
        "by": view.by,
        "cost": sum(call.charged for call in calls),
        "receipts": list(view.receipts),
        "miners": sorted({str(call.upstream["miner"]) for call in calls if call.upstream.get("miner") is not None}),
    }


def _receipt(call: CallView) -> dict[str, Any]:
    return {
        "id": call.id,
        "agent": call.agent or call.node,
        "task": call.task,
        "model": call.model,
        "status": call.status,
        "tokens": call.prompt + call.completion,
        "charged": call.charged,
        "seconds": call.seconds,
        "upstream": dict(call.upstream),
    }


def _delivered(delivery: Delivery) -> dict[str, Any]:
    return {
        "written": list(delivery.written),
        "beside": [{"path": path, "at": at} for path, at in delivery.beside],
        "deleted": list(delivery.deleted),
        "kept": [{"path": path, "why": why} for path, why in delivery.kept],
    }


def render_report(found: Mapping[str, Any]) -> str:
    """The report for a person, as Markdown."""
    scripted = ["", "A script played the model. Nothing here says what a model can do."] if _scripted(found) else []
    lines = [
        f"# {_line(found['goal'])}",
        "",
        f"{_WORDS.get(found['status'], _line(found['status']))} {_line(found['why'])}".rstrip(),
        *scripted,
        "",
        _numbers(found),
        "",
        *_unknown_lines(found["unknown"]),
        f"The plan was made by {_line(found['planned_by']) or 'nobody'} and approved by {_line(found['approved_by']) or 'nobody'}.",
        "",
        "## What was done, and how it was verified",
        "",
        *_table(
            ("task", "agent", "state", "attempts", "cost", "verified by"),
            [
                (
                    f"{task['id']}: {task['title']}",
                    task["agent"],
                    task["state"],
                    task["attempts"],
                    _money(task["spent"]),
                    _verified(task),
                )
                for task in found["tasks"]
            ],
        ),
        "",
        *[f"- {_code(task['id'])} {_line(task['why'])}" for task in found["tasks"] if task["state"] == "failed"],
        "",
        *_contract_lines(found.get("contracts", ())),
        "## Files",
        "",
        *_table(
            ("file", "made by", "how", "cost", "calls", "sha256"),
            [
                (
                    _code(file["path"]), file["agent"], file["by"], _money(file["cost"]), len(file["receipts"]),
                    file["sha256"][:16],
                )
                for file in found["files"]
            ],
        ),
        "",
        *_delivery_lines(found["delivered"]),
        "## Receipts",
        "",
        *_table(
            ("call", "agent", "task", "model", "status", "tokens", "charged", "from"),
            [
                (
                    call["id"], call["agent"], call["task"], call["model"], call["status"], call["tokens"], _money(call["charged"]),
                    _upstream(call["upstream"]),
                )
                for call in found["receipts"]
            ],
        ),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def _numbers(found: Mapping[str, Any]) -> str:
    tokens = found["tokens"]["prompt"] + found["tokens"]["completion"]
    return (
        f"Run {_code(found['run'])} · {found['seconds']:g} s · {_money(found['spent'])} of {_money(found['budget'])} spent,"
        f" {_money(found['returned'])} left · {found['calls']} calls of {_line(found['model']) or 'no model'}, {tokens} tokens"
    )


def _unknown_lines(unknown: Mapping[str, Any]) -> list[str]:
    if not unknown["calls"]:
        return []
    text = (
        f"Of this, {_money(unknown['booked'])} is booked for {unknown['calls']} calls whose answers never came and whose"
        " sellers could not say what they charged (`unknown`): the most that they can have cost."
    )
    return [text, ""]


def _scripted(found: Mapping[str, Any]) -> bool:
    return found["gateway"] == "scripted" or any(
        call["upstream"].get("upstream") == "scripted" for call in found["receipts"]
    )


def _contract_lines(contracts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Nothing where no task could be done by more than one."""
    if not contracts:
        return []
    rows = [
        (
            each["task"], each["contract"][:12] or "none", each["agent"] or "the planned role", _money(each["price"]),
            _money(each["spent"]), f"{each['seconds']:g} s", f"{each['success_bps'] / 100:g} %", len(each["offers"]),
            f"{each['outcome']}: {each['why'][:120]}".removesuffix(": "),
        )
        for each in contracts
    ]  # fmt: skip
    head = ("task", "contract", "agent", "offered", "spent", "time", "chance", "asked", "what became of it")
    return ["## Contracts", "", *_table(head, rows), ""]


def _verified(task: Mapping[str, Any]) -> str:
    if not task["tested"]:
        return "not tested"
    proof = f" ({_line(task['proof'])})" if task["proof"] else ""
    return _Markdown(f"{_code(' '.join(task['test']))} {'passed' if task['passed'] else 'failed'}{proof}")


def _delivery_lines(delivered: Mapping[str, Any] | None) -> list[str]:
    if delivered is None:
        return []
    lines = [f"- {_code(path)} was written" for path in delivered["written"]]
    lines += [f"- {_code(path)} was deleted" for path in delivered["deleted"]]
    lines += [
        f"- {_code(each['path'])} was changed by you meanwhile; the new one is {_code(each['at'])}"
        for each in delivered["beside"]
    ]
    lines += [f"- {_code(each['path'])} was not touched: {_line(each['why'])}" for each in delivered["kept"]]
    return ["## Delivered", "", *(lines or ["- nothing"]), ""]


def _upstream(receipt: Mapping[str, Any]) -> str:
    named = [str(receipt["name"])] if receipt.get("name") else []
    other = [f"{name} {value}" for name, value in receipt.items() if name != "name" and value not in {None, ""}]
    return ", ".join(named + other) or "-"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    if not rows:
        return ["None."]
    cells = [
        [(cell if isinstance(cell, _Markdown) else _line(cell)).replace("|", "\\|") for cell in row] for row in rows
    ]
    return [f"| {' | '.join(row)} |" for row in (list(columns), ["---"] * len(columns), *cells)]


def _line(text: object) -> str:
    """Anybody's words, which neither a terminal nor a reader of Markdown makes something else of."""
    return _LIVE.sub(r"\\\g<0>", _folded(text))


def _code(text: object) -> _Markdown:
    """A path or a command as it is typed; as words where a code span, or one in a table, could not hold it."""
    line = _folded(text)
    holds = line and "`" not in line and "\\|" not in line
    return _Markdown(f"`{line}`" if holds else _line(line))


def _folded(text: object) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())


def _money(units: int) -> str:
    return str(Amount(int(units), CREDIT))
