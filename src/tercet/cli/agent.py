"""`tercet agent`: other people's agents, and servers of tools, that runs may use."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from dataclasses import replace

import click

from tercet.cli.agent_inputs import command_words, files_folder, read_token, validate_address
from tercet.cli.agent_serve import serve
from tercet.cli.agent_tools import tell_tools
from tercet.cli.frame import State, group, pass_state
from tercet.cli.options import state_option
from tercet.cli.output import is_terminal, print_json, print_table, say
from tercet.cli.plain import printable
from tercet.errors import UsageError
from tercet.swarm.agents import Added, Agents, now_ms
from tercet.swarm.workers.install import install, install_specialist
from tercet.swarm.workers.specialists import SPECIALISTS

__all__ = ["command"]

_FIELDS = {
    "name": "what a plan's task gives as its role",
    "kind": "`specialist`, `a2a` or `mcp`",
    "state": "`added`, or `available` for what can be added by its name",
    "about": "what it is good for",
    "url": "where it is; empty for what runs here",
    "command": "what starts a server of tools here, as words",
    "tools": "tools that agents may use, and how far each reaches: `local` or `irreversible`",
    "added_ms": "Unix milliseconds; 0 for what is not added",
}


@group("agent", examples=("tercet agent list", "tercet agent add mini-swe-agent"))
def command() -> None:
    """Other people's agents: each in an environment and a sandbox of its own, thinking through the run's gateway."""


command.add_command(serve)


@command.command(
    "list",
    examples=("tercet agent list", "tercet agent list --json"),
    schema={f"agents[].{name}": meaning for name, meaning in _FIELDS.items()},
)
@state_option("agents")
@pass_state
def list_(state: State, folder: str | None, as_json: bool) -> None:
    """What is added, and what can be added by its name."""
    rows = _rows(Agents(state.folder("agents", folder)))
    if as_json:
        print_json({"agents": rows})
        return
    print_table(
        ["name", "kind", "state", "about"],
        [[row["name"], row["kind"], row["state"], printable(str(row["about"]), 70)] for row in rows],
        "None.",
    )


@command.command("show", examples=("tercet agent show pandasai", "tercet agent show pandasai --json"), schema=_FIELDS)
@click.argument("name")
@state_option("agents")
@pass_state
def show(state: State, name: str, folder: str | None, as_json: bool) -> None:
    """All that is known of one."""
    agents = Agents(state.folder("agents", folder))
    row = next((row for row in _rows(agents) if row["name"] == name), None) or _row(agents.find(name))
    if as_json:
        print_json(row)
        return
    for field, value in row.items():
        if value not in ("", 0, [], {}):
            click.echo(f"{field:<10}{shlex.join(value) if isinstance(value, list) else value}")
    if name in SPECIALISTS:
        click.echo(f"{'needs':<10}{', '.join(SPECIALISTS[name].needs)} (about {SPECIALISTS[name].megabytes} MB)")


@command.command(
    "add",
    examples=(
        "tercet agent add mini-swe-agent",
        "tercet agent add https://agents.example.org/ --as helper --token-file token",
    ),
)
@click.argument("what", metavar="NAME|URL|COMMAND")
@click.option("--as", "name", metavar="NAME", help="What plans call it; needed for a URL or a command.")
@click.option(
    "--mcp", is_flag=True, help="It is a server of tools (MCP): a URL, or a command that runs in the sandbox."
)
@click.option(
    "--allow",
    multiple=True,
    metavar="TOOL",
    help="A tool that agents may use; local=TOOL if it changes nothing outside.",
)
@click.option(
    "--needs", multiple=True, metavar="PACKAGE", help="What pip installs for a server of tools that runs here."
)
@click.option("--files", metavar="DIR", help="A folder that such a server starts in; it gets a copy.")
@click.option("--token-file", metavar="FILE", help="Its first line is shown to an agent at a URL.")
@state_option("agents")
@pass_state
def add(
    state: State,
    what: str,
    *,
    name: str | None,
    mcp: bool,
    allow: tuple[str, ...],
    needs: tuple[str, ...],
    files: str | None,
    token_file: str | None,
    folder: str | None,
) -> None:
    """Add a specialist by its name, an agent (A2A) by its URL, or a server of tools (--mcp)."""
    agents = Agents(state.folder("agents", folder))
    is_url = validate_address(what)
    if not mcp and (allow or needs or files):
        raise UsageError("--allow, --needs and --files are for servers of tools. Say --mcp with them.")
    if not mcp and not is_url:
        asyncio.run(_add_specialist(agents, what))
        return
    if not name:
        raise UsageError(f"{what!r} needs a name that plans can use: say --as NAME.")
    _must_be_free(agents, name)
    token = read_token(token_file)
    if not mcp:
        asyncio.run(_add_agent(agents, name, what, token))
        return
    draft = Added(
        name=name,
        kind="mcp",
        url=what if is_url else "",
        command=() if is_url else command_words(what),
        files=files_folder(files),
        added_ms=now_ms(),
    )
    with agents.leaving_nothing(name):
        if needs:
            asyncio.run(_install(agents, name, needs))
        asyncio.run(_add_tools(agents, draft, allow, token))


@command.command("remove", examples=("tercet agent remove crewai", "tercet agent list"))
@click.argument("name")
@state_option("agents")
@pass_state
def remove(state: State, name: str, folder: str | None) -> None:
    """Forget one, and delete its environment."""
    Agents(state.folder("agents", folder)).remove(name)
    say(f"{name} is removed.")


async def _add_specialist(agents: Agents, name: str) -> None:
    if name not in SPECIALISTS:
        raise UsageError(
            f"There is no agent {name!r} that Tercet can install. It knows {', '.join(sorted(SPECIALISTS))}; any other"
            " is added by its URL, or with --mcp."
        )
    specialist = SPECIALISTS[name]
    free = shutil.disk_usage(agents.folder).free >> 20
    if free < 2 * specialist.megabytes:
        raise UsageError(f"{name} takes about {specialist.megabytes} MB, and {free} MB are free. Make room first.")
    say(f"Installing {', '.join(specialist.needs)}: about {specialist.megabytes} MB, a few minutes.")
    await install_specialist(specialist, agents.environment(name), _progress)
    _end_progress()
    agents.put(Added(name=name, kind="specialist", about=specialist.what, added_ms=now_ms()))
    say(f"{name} is added. A task gets it by its role: {name}.")


async def _add_agent(agents: Agents, name: str, url: str, token: str) -> None:
    from tercet.swarm.a2a import fetch_card  # noqa: PLC0415 - protobuf takes a second to import

    card = await fetch_card(url)
    about = f"{card.name}: {card.description}"[:1000]
    agents.put(Added(name=name, kind="a2a", about=about, url=url, added_ms=now_ms()), token)
    say(f"{name} is added: {_plain(about)}. It thinks at its own cost, and what it says counts as unchecked.")


async def _install(agents: Agents, name: str, needs: tuple[str, ...]) -> None:
    say(f"Installing {', '.join(needs)}.")
    await install(needs, agents.environment(name), _progress)
    _end_progress()


async def _add_tools(agents: Agents, draft: Added, allow: tuple[str, ...], token: str) -> None:
    from tercet.subnets.kit import Sandbox  # noqa: PLC0415 - these take seconds to import
    from tercet.swarm.mcp import list_tools  # noqa: PLC0415
    from tercet.swarm.tool_servers import address_of  # noqa: PLC0415

    address = address_of(agents, draft)
    address = replace(address, token=token or address.token)
    found = await list_tools(address, None if draft.url else Sandbox.find())
    chosen = _chosen(allow, [tool.name for tool in found])
    about = f"tools: {', '.join(_plain(tool.name) for tool in found)}"[:1000]
    for line in tell_tools(found, chosen, shutil.get_terminal_size().columns if sys.stderr.isatty() else None):
        say(line)
    digests = {tool.name: tool.digest for tool in found if tool.name in chosen}
    agents.put(Added.model_validate({**draft.model_dump(), "about": about, "tools": chosen, "digests": digests}), token)
    say(
        f"{draft.name} is added. Agents may use {len(chosen)} of its {len(found)} tools, as they stand above;"
        " --allow TOOL gives one."
    )


def _chosen(allow: tuple[str, ...], known: list[str]) -> dict[str, str]:
    chosen = {}
    for each in allow:
        reach, _, tool = each.rpartition("=")
        if tool not in known or reach not in {"", "local", "irreversible"}:
            raise UsageError(f"--allow {each!r} is none of its tools: {', '.join(map(_plain, sorted(known)))}.")
        chosen[tool] = reach or "irreversible"
    return chosen


def _must_be_free(agents: Agents, name: str) -> None:
    agents.place(name)
    if name in SPECIALISTS:
        raise UsageError(f"{name!r} is the name of a specialist. Choose another.")


def _rows(agents: Agents) -> list[dict[str, object]]:
    added = {one.name: _row(one) for one in agents.all()}
    for name, one in SPECIALISTS.items():
        if name not in added:
            added[name] = {
                **_row(Added(name=name, kind="specialist", about=one.what, added_ms=0)),
                "state": "available",
            }
    return [added[name] for name in sorted(added)]


def _row(one: Added) -> dict[str, object]:
    return {
        "name": one.name,
        "kind": one.kind,
        "state": "added",
        "about": _plain(one.about),
        "url": one.url,
        "command": list(one.command),
        "tools": dict(one.tools),
        "added_ms": one.added_ms,
    }


def _plain(text: str) -> str:
    """A stranger's text on one line, whole, without what could move a terminal's cursor or turn its words round."""
    return " ".join(printable(text, len(text)).split())


def _progress(line: str) -> None:
    if is_terminal():
        click.echo(f"\r\x1b[K  {printable(line, 100)}", nl=False, err=True)


def _end_progress() -> None:
    if is_terminal():
        click.echo("\r\x1b[K", nl=False, err=True)
