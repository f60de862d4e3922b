"""`tercet run`: a goal, a budget, and agents that work at it until programs say that it is met."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import wallet_option
from tercet.cli.output import is_terminal, say
from tercet.cli.plain import printable
from tercet.cli.run_folder import known_roles, new_folder, remove_unbegun
from tercet.cli.run_inputs import (
    goal_folder,
    hidden_folder,
    memory_place,
    plan_file,
    validate_candidates,
    validate_lent,
    validate_plan,
)
from tercet.cli.run_outcome import tell_outcome
from tercet.cli.run_screen import CLASSES, Asker, show_plan, watching
from tercet.cli.thinking import choose_thinking, open_thinking
from tercet.cli.wallet_purse import choose_purse, reopen_purse
from tercet.errors import NotInstalledError, TercetError, ThinkingError, UnreachableError, UsageError
from tercet.market import CREDIT, Amount
from tercet.swarm.events import read_events
from tercet.swarm.gateway import Upstream
from tercet.swarm.kernel import Kernel, Outcome, RunConfig, resume
from tercet.swarm.planner import Planner
from tercet.swarm.workspace import Workspace

__all__ = ["command", "resume_run"]

_MOST_AGENTS = 100


@click.command(
    "run",
    cls=TercetCommand,
    examples=(
        'tercet run "Make the failing tests pass and write the changelog entry" --dir my-project --budget 2',
        'tercet run "Analyse sales.csv and report with plots" --dir data --yes',
    ),
    schema={
        "run": "its name; also of its folder under home/runs",
        "folder": "where its journal, files and report are",
        "goal": "what was asked",
        "status": "done, failed, out_of_budget, stopped or paused",
        "why": "why it was not met",
        "planned_by": "file, recipe NAME or model NAME",
        "budget": "credit units",
        "spent": "credit units",
        "returned": "credit units that are left",
        "tasks[].id": "of a task of the plan",
        "tasks[].state": "pending, running, done or failed",
        "tasks[].test": "the done-test's command",
        "tasks[].proof": "what its success rests on, in words",
        "contracts": "who got a task that more than one could do: contract, agent, price, spent, outcome, offers",
        "files[].path": "what was made or changed",
        "files[].by": "search, program or model NAME",
        "files[].cost": "credit units of the calls behind it",
        "files[].receipts": "ids of those calls",
        "receipts": "all calls of models",
        "delivered": "what was written into the folder",
    },
)
@click.argument("goal")
@click.option("--dir", "directory", metavar="PATH", help="The folder it is about; results are written there.")
@click.option("--budget", default="1", show_default=True, metavar="CREDIT", help="The most that may be spent.")
@click.option("--agents", default=4, show_default=True, type=click.IntRange(1, _MOST_AGENTS), help="The most at once.")
@click.option("--plan", metavar="FILE", help="A plan as JSON, instead of one that is found or made.")
@click.option("--hidden", metavar="DIR", help="Tests that agents and prompts never see; lent to done-tests alone.")
@click.option(
    "--model", default="", metavar="NAME", help="Which model thinks (default: small, or the gateway's first)."
)
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="ROLE=OTHER",
    help="Who may do tasks of a role too; OTHER or OTHER@MODEL.",
)
@click.option("--gateway", default="", metavar="URL", help="An OpenAI-compatible address, ending in /v1.")
@click.option("--key-file", default="", metavar="FILE", help="Its first line is the gateway's key.")
@click.option("--scripted", default="", metavar="FILE", help="A script plays the model, for tests and tours.")
@click.option("--lend", multiple=True, metavar="PACKAGE", help="An installed Python package the sandbox may import.")
@click.option(
    "--memory",
    default="",
    metavar="WHERE",
    help="Of the agents' shared memory: a Chroma server's URL, a folder, or off.",
)
@click.option(
    "--pay", default="", metavar="CREDIT", help="What agents may pay others from the wallet; each payment asks."
)
@wallet_option
@click.option(
    "--yes-to", multiple=True, type=click.Choice(CLASSES), help="Agree beforehand; may be said more than once."
)
@click.option("--yes", is_flag=True, help="Agree to everything beforehand.")
@click.option("--dry-run", is_flag=True, help="Show the plan; start nothing.")
@pass_state
def command(
    state: State,
    *,
    goal: str,
    directory: str | None,
    budget: str,
    agents: int,
    plan: str | None,
    hidden: str | None,
    model: str,
    candidates: tuple[str, ...],
    gateway: str,
    key_file: str,
    scripted: str,
    lend: tuple[str, ...],
    memory: str,
    pay: str,
    yes_to: tuple[str, ...],
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Have agents reach a goal: shows the plan, asks once, then works until programs say that each task is done.

    The exit code is 0 when the goal was met, 1 when not or when this machine lacks what the run needs, 3 when the budget
    is out, and 130 when it was interrupted; what was done is kept, and `tercet resume` goes on. With 2 and 4 it did not
    begin: wrong words, or no gateway.
    """
    if not goal.strip():
        raise UsageError("The goal is empty. Say what is to be done, in a sentence.")
    units = Amount.parse(budget, CREDIT).units
    place = goal_folder(directory)
    file = plan_file(plan)
    unseen = hidden_folder(hidden)
    roles = known_roles(state)
    validate_candidates(roles, candidates)
    validate_lent(lend)
    validate_plan(file, goal, units, roles, candidates)
    if dry_run:
        return _show_plan(state, RunConfig(goal, units, dir=place, plan=file, candidates=candidates))
    _name_models(state)
    words, chosen = choose_thinking(state.settings, model=model, gateway=gateway, key_file=key_file, script=scripted)
    purse, opened = choose_purse(state.settings, pay) if pay else ({}, None)
    config = RunConfig(
        goal, units, dir=place, agents=agents, model=chosen.get("model", ""), gateway=words, plan=file, hidden=unseen,
        candidates=candidates, lend=lend, memory=memory_place(memory), purse=purse, seed=secrets.randbelow(2**31), upstream=chosen,
    )  # fmt: skip
    folder = new_folder(state)
    say(f"Run {folder.name}. Look at it with: tercet top {folder.name}")
    asker = Asker(_console(state), CLASSES if yes else yes_to)
    kernel = Kernel(folder, config, open_thinking(chosen), asker, roles=roles, purse=opened)

    async def go() -> Outcome:
        async with watching(folder, _console(state), asker):
            with _polite(kernel, asker):
                return await kernel.run()

    try:
        return tell_outcome(_wait_for(go(), folder), as_json=as_json)
    except TercetError as error:
        _leave_nothing(folder, error)
        raise


def _leave_nothing(folder: Path, error: TercetError) -> None:
    """Of a run that could not begin.

    Raises:
        UnreachableError: it could not because nobody answers where its model should be.

    """
    if not remove_unbegun(folder):
        return
    say(f"{folder.name} could not begin, and nothing is left of it.")
    if isinstance(error, ThinkingError) and error.again:
        raise UnreachableError(str(error)) from error


def resume_run(state: State, folder: Path, *, as_json: bool = False) -> int:
    """Go on with the run in a folder; the exit code of `tercet run`.

    A plan that nobody agreed to before is asked about where somebody can answer.
    """
    _name_models(state)
    agreed = any(True for _ in read_events(folder / "journal.db", kinds=("run.approved",)))
    asker = Asker(_console(state), CLASSES if agreed or not is_terminal() else ())

    def opened(config: RunConfig) -> Upstream:
        return open_thinking(config.upstream)

    async def go() -> Outcome:
        past = sum(1 for _ in read_events(folder / "journal.db"))
        with contextlib.ExitStack() as stack:
            async with watching(folder, _console(state), asker, past):
                return await resume(
                    folder,
                    opened,
                    asker,
                    roles=known_roles(state),
                    watch=lambda kernel: stack.enter_context(_polite(kernel, asker)),
                    open_purse=lambda config: reopen_purse(state.settings, config.purse),
                )

    return tell_outcome(_wait_for(go(), folder), as_json=as_json)


def _wait_for(outcome: Coroutine[Any, Any, Outcome], folder: Path) -> Outcome:
    try:
        return asyncio.run(outcome)
    except click.Abort:
        say(f"\nLeft without an answer. It is asked again with: tercet resume {folder.name}")
        raise
    except NotInstalledError:  # the error says what to install
        say(f"What was done is kept. Once that is installed, go on with: tercet resume {folder.name}")
        raise


@contextlib.contextmanager
def _polite(kernel: Kernel, asker: Asker) -> Iterator[None]:
    """Ctrl-C pauses, or leaves a question unanswered; a second one is as ever."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if asker.leave():
            return
        loop.remove_signal_handler(signal.SIGINT)
        say("Pausing ... (again to leave at once)")
        kernel.interrupt()

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _name_models(state: State) -> None:
    """Where the settings say that models are: the run's memory has one, and looks for it by the environment."""
    os.environ["TERCET_MODELS"] = str(state.settings.path("models"))


def _show_plan(state: State, config: RunConfig) -> int:
    """The plan as far as it needs no model."""
    with tempfile.TemporaryDirectory(prefix="tercet-plan-") as name:
        intake = Workspace(Path(name)).take_in(Path(config.dir) if config.dir else None)
    file = Path(config.plan) if config.plan else None
    planner = Planner(config.goal, config.budget, "", list(known_roles(state)), file, candidates=config.candidates)
    planned = planner.known(list(intake.files))
    if planned is None:
        say(
            "Dry run: no recipe fits this goal, so a model would make the plan, and be paid for it. Nothing was started."
        )
        return 0
    show_plan(_console(state), planned.plan, planned.by)
    for path, why in intake.left_out[:10]:
        say(f"Left out: {printable(path)}, {why}.")
    say("Dry run: nothing was started.")
    return 0


def _console(state: State) -> Console:
    return Console(stderr=True, highlight=False, no_color=not state.colour, soft_wrap=True)
