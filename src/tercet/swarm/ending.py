"""The end of a run: its files go to the person's folder, what is left of its money is counted, its report is written."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from tercet.errors import RefusedError
from tercet.swarm.attempt import run_done_test
from tercet.swarm.config import Outcome, Status
from tercet.swarm.delivery import Delivery, write_back
from tercet.swarm.events import read_events
from tercet.swarm.report import write_report
from tercet.swarm.run import Run
from tercet.swarm.shop import Shop
from tercet.swarm.state import fold
from tercet.swarm.views import RunState

__all__ = ["deliver", "end", "report_late", "run_acceptance_test"]


async def run_acceptance_test(shop: Shop) -> None:
    """All tasks are done: does the whole hold, where there is a hidden test of it?"""
    run, test = shop.run, shop.tests.acceptance
    if run.ending.status is not None or test is None:
        return
    found = await run_done_test(shop, test, run.workspace.files)
    await run.journal.append("run.tested", found)
    if not found["ok"]:
        run.ending.say("failed", "Every task is done, but the hidden test of the whole fails.")


async def deliver(run: Run) -> Delivery | None:
    """Write what was made into the person's folder, if they agree; None where there is none, nothing, or they do not."""
    made = [change.path for change in run.workspace.made()]
    if not run.config.dir or not made:
        return None
    try:
        by = await run.person.accept(made, Path(run.config.dir))
    except RefusedError as error:  # the files stay in the run's folder
        await run.journal.append("run.delivered", {"by": "", "refused": str(error)}, actor="person")
        return None
    delivery = await asyncio.to_thread(
        write_back, run.workspace.made(), run.workspace.store, Path(run.config.dir), _mark(run)
    )
    body = {
        "by": by,
        "written": list(delivery.written),
        "beside": [list(pair) for pair in delivery.beside],
        "deleted": list(delivery.deleted),
        "kept": [list(pair) for pair in delivery.kept],
    }
    await run.journal.append("run.delivered", body, actor="person")
    return delivery


def _mark(run: Run) -> str:
    """The same after a kill, and nothing that who names files can know: a hash over the moment in which the run began."""
    began = next(event for event in run.journal.events(kinds=("run.started",)))
    return hashlib.sha256(began.hash + run.journal.run.encode()).hexdigest()[:16]


async def end(run: Run, status: Status, why: str, delivery: Delivery | None = None) -> None:
    """Write down how it ended and what is left, and report."""
    spent = run.desk.budgets.spent("run").credit
    body = {"status": status, "why": why[:2000], "spent": spent, "returned": max(0, run.budget - spent)}
    await run.journal.append("run.ended", body)
    await asyncio.to_thread(write_report, run.folder, fold(run.journal.events()), delivery)


def report_late(folder: Path, state: RunState) -> Outcome:
    """Write the report of a run that was killed between its end and its report."""
    bodies = [event.body for event in read_events(folder / "journal.db", kinds=("run.delivered",))]
    body = next((body for body in reversed(bodies) if "written" in body), None)
    delivery = None
    if body is not None:
        pairs = {name: [(str(a), str(b)) for a, b in body[name]] for name in ("beside", "kept")}
        delivery = Delivery(body["written"], pairs["beside"], body["deleted"], pairs["kept"])
    write_report(folder, state, delivery)
    return Outcome("done" if state.run.status == "done" else "failed", state.run.why, state, folder, delivery)
