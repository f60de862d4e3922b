"""What every command shares: the list of nouns, the global options, help, exit codes and error messages.

A noun's module is imported only when that noun is used, so that `tercet --help` stays quick.
"""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import click

from tercet import __version__
from tercet.cli.plain import printable_lines
from tercet.cli.processes import PARENT_VARIABLE, behave_as_child
from tercet.cli.settings import Settings, resolve_settings
from tercet.errors import TercetError

__all__ = ["NOUNS", "Group", "State", "TercetCommand", "group", "main", "pass_state", "root"]

INTERRUPTED = 130

NOUNS: Mapping[str, str] = {
    "demo": "A whole market on this machine, in two or three minutes.",
    "up": "A market that stays: chain, validator, miner and gateway.",
    "mine": "Serve a subnet and be paid for it.",
    "validate": "Measure the miners of a subnet and be paid for it.",
    "gateway": "An OpenAI-compatible address that buys from the market.",
    "run": "Have agents reach a goal within a budget.",
    "label": "Have a CSV file or a folder of pictures labelled.",
    "key": "The gateway's API keys and their budgets.",
    "inbox": "What runs ask you: one ranked queue, answers, policies.",
    "ps": "The runs there are, and the agents of one.",
    "top": "A run at one look, live: who needs you first.",
    "logs": "What happened in a run, a crew or an agent.",
    "attach": "Watch a run that works elsewhere.",
    "pause": "Hold all thinking of an agent, a crew or a run.",
    "resume": "Let it go on; take up a run that had stopped.",
    "kill": "End an agent, a crew or a run.",
    "nice": "Whose thoughts go first.",
    "budget": "What runs, crews and agents may spend.",
    "market": "Open and look at markets, change their rules, leave them.",
    "sponsor": "Pay a market's epochs.",
    "stake": "Add to a validator's own stake.",
    "delegate": "Put stake behind somebody else's validator.",
    "unstake": "Begin to take stake back.",
    "withdraw": "Take home what a market owes.",
    "operator": "Replace or revoke the key that speaks for a slot.",
    "explain": "Why an address earned what it earned; what it has at stake.",
    "epoch": "Look at epochs, close them, replay published vectors.",
    "audit": "Look at audits; accuse, vote and settle.",
    "emission": "Fees for sale, tokens burned, and what markets get for it.",
    "fold": "Buy a lower energy for a molecule, as a PDB file.",
    "job": "Hold a price until work is accepted, or judged.",
    "fix": "Have a repository's failing tests made to pass.",
    "ledger": "What the chain has recorded: events, receipts, balances.",
    "wallet": "Keys that hold money and sign.",
    "chain": "Run a development chain, deploy to any chain.",
    "model": "Fetch and list the model files.",
    "why": "Who is responsible for a file, a receipt or a payment of a run.",
    "journal": "What happened in a run of agents, and whether its record still holds.",
    "agent": "Other people's agents and tools, for runs to use.",
    "mcp": "The market's tools for other people's programs.",
    "subnet": "The competitions that are installed.",
    "rating": "What machines were measured to do, signed.",
    "attack": "Run attacks against the contracts, under your own rules.",
    "config": "What is set, and where it was set.",
}


@dataclass(slots=True)
class State:
    """What the global options said; lives on the root context."""

    flags: dict[str, str] = field(default_factory=dict)
    colour: bool = True
    debug: bool = False

    @property
    def settings(self) -> Settings:
        """All settings, resolved now."""
        return resolve_settings(self.flags)

    def folder(self, role: str, chosen: str | None) -> Path:
        """Where `role` keeps its state; made if it is missing."""
        path = Path(chosen).expanduser() if chosen else self.settings.home / role
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path


pass_state = click.make_pass_decorator(State, ensure=True)


def _set_flag(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and parameter.name:
        context.ensure_object(State).flags[parameter.name] = value


def _set_no_color(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(State).colour = False


def _set_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(State).debug = True


def global_options() -> list[click.Option]:
    """Fresh copies of the options that every command takes, before or after its name."""
    shared: dict[str, Any] = {"expose_value": False, "is_eager": True}
    return [
        click.Option(["--chain"], metavar="URL", callback=_set_flag, help="JSON-RPC address of the chain.", **shared),
        click.Option(
            ["--deployment"], metavar="FILE", callback=_set_flag, help="Addresses of the contracts there.", **shared
        ),
        click.Option(["--home"], metavar="DIR", callback=_set_flag, help="Where state is kept.", **shared),
        click.Option(
            ["--no-color"], is_flag=True, callback=_set_no_color, help="No colour (or set NO_COLOR).", **shared
        ),
        click.Option(["--debug"], is_flag=True, callback=_set_debug, help="Show tracebacks.", **shared),
    ]


class TercetCommand(click.Command):
    """A command whose help opens with examples, and which may document what `--json` prints."""

    def __init__(
        self, *args: Any, examples: Sequence[str] = (), schema: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.schema = schema
        """Field (dotted, `[]` for lists) to meaning; None when the command prints no JSON."""
        if schema is not None:
            self.params.append(
                click.Option(["--json", "as_json"], is_flag=True, help="One JSON object on stdout, for programs.")
            )
        own = {option for parameter in self.params for option in parameter.opts}
        self.params += [option for option in global_options() if not own & set(option.opts)]

    def as_verb_of(self, noun: str) -> TercetCommand:
        """The same command under a noun as well, its examples told that way."""
        twin = copy.copy(self)
        twin.examples = tuple(text.replace("tercet ", f"tercet {noun} ", 1) for text in self.examples)
        return twin

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first, then the words."""
        write_examples(self.examples, formatter)
        super().format_help_text(ctx, formatter)


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """A block of examples, one to a line, never wrapped."""
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"  {example}\n")


class Group(click.Group):
    """A noun and its verbs."""

    command_class = TercetCommand

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params += global_options()

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first, then the words."""
        write_examples(self.examples, formatter)
        super().format_help_text(ctx, formatter)


def group(name: str, *, examples: Sequence[str]) -> Callable[[Callable[..., Any]], Group]:
    """A decorator that makes a noun of a function."""
    return click.group(name, cls=Group, examples=examples)


class Root(Group):
    """`tercet` itself: knows the nouns by name, imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """In the order of `NOUNS`: what people need first stands first."""
        return list(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """Import the noun."""
        if cmd_name not in NOUNS:
            return None
        found = importlib.import_module(f"tercet.cli.{cmd_name}").command
        assert isinstance(found, click.Command), cmd_name
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(NOUNS.items()))


@click.group(
    "tercet",
    cls=Root,
    examples=("tercet demo", "tercet up"),
    invoke_without_command=True,
    no_args_is_help=False,
    help="An open market for machine intelligence.",
)
@click.version_option(__version__, prog_name="tercet")
@click.pass_context
def root(context: click.Context) -> None:
    """Bare `tercet` says what to do next."""
    if context.invoked_subcommand is None:
        show_next_steps(context.ensure_object(State).settings)


def show_next_steps(settings: Settings) -> None:
    """What to type now, judged by what is already there."""
    if (settings.home / "up").is_dir():
        steps = [
            ("tercet up", "start your market again"),
            ("tercet market list", "the markets on the chain"),
            ("tercet epoch show", "what the last epoch measured and paid"),
        ]
    else:
        steps = [
            ("tercet demo", "watch a whole market run on this machine"),
            ("tercet run GOAL", "have agents reach a goal, within a budget"),
            ("tercet up", "start a market that stays, with an OpenAI-compatible address"),
        ]
    click.echo("Tercet, an open market for machine intelligence. Next:\n")
    for words, meaning in [*steps, ("tercet --help", "everything else")]:
        click.echo(f"  {words:<22}{meaning}")


def _say(text: str) -> None:
    click.echo(printable_lines(text), err=True)


def _exit_code(error: BaseException, state: State) -> int:
    """Say what went wrong on stderr; the exit code for it."""
    if state.debug and not isinstance(error, click.ClickException | KeyboardInterrupt | click.Abort):
        _say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, click.Abort):
        if isinstance(error.__cause__, EOFError):
            _say("tercet: nobody is there to answer. Run it on a terminal, or say --yes / --password-file.")
            return 1
        _say("tercet: interrupted")
        return INTERRUPTED
    if isinstance(error, KeyboardInterrupt):
        _say("tercet: interrupted")
        return INTERRUPTED
    if isinstance(error, TercetError):
        _say(f"tercet: {error}")
        return error.exit_code
    if isinstance(error, OSError) and error.filename:
        _say(f"tercet: {error.filename}: {error.strerror}. Mend that, or choose another place with --home or --state.")
        return 1
    if isinstance(error, ModuleNotFoundError) and not (error.name or "tercet").startswith("tercet"):
        _say(
            f"tercet: this needs {error.name}, which is not installed. Install it: pip install 'tercet[{_extra(error)}]'."
        )
        return click.UsageError.exit_code
    _say(f"tercet: unexpected {type(error).__name__}: {error}. Run it again with --debug and report what it shows.")
    return 1


def _extra(error: ModuleNotFoundError) -> str:
    """The extra that brings the module; where its package is called otherwise, that of the room which wanted it."""
    about = importlib.metadata.metadata("tercet")
    named = re.compile(rf"{re.escape(error.name or '')}\b.*extra == ['\"](?!all\b)([\w-]+)")
    if direct := [found[1] for line in about.get_all("Requires-Dist", []) if (found := named.match(line))]:
        return direct[0]
    rooms = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    parts = (part for room in reversed(rooms) if room.startswith("tercet.") for part in room.split("."))
    return next((part for part in parts if part in about.get_all("Provides-Extra", [])), "all")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    state = State(colour="NO_COLOR" not in os.environ)
    try:
        result = root.main(list(arguments), prog_name="tercet", standalone_mode=False, obj=state)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader (`| head`) has gone
        return 0
    except BaseException as error:  # the last place that can turn it into an exit code
        if isinstance(error, SystemExit):
            raise
        return _exit_code(error, state)
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """The entry point."""
    if PARENT_VARIABLE in os.environ:
        behave_as_child()
    sys.exit(run(sys.argv[1:]))
