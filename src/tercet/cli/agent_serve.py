"""`tercet agent serve`: Tercet's own assistant, to be asked by other people's agents and runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import state_option
from tercet.cli.output import say
from tercet.cli.serving import run_role
from tercet.cli.thinking import choose_thinking, open_thinking
from tercet.errors import UsageError
from tercet.market import CREDIT, Amount
from tercet.subnets.kit import Sandbox
from tercet.swarm.agents import Agents
from tercet.swarm.gateway import Desk, Upstream
from tercet.swarm.journal import Journal

__all__ = ["serve"]

_ABOUT = "Tercet's assistant: reads, writes and runs in a sandbox, on files that you send. Costs its caller's budget."
_CALLER = re.compile(r"[a-z][a-z0-9-]{0,31}")


@click.command(
    "serve",
    cls=TercetCommand,
    examples=("tercet agent serve", "tercet agent serve --caller ann --caller bob --budget 0.5"),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=4190, show_default=True, help="0 takes a free one.")
@click.option("--url", default="", metavar="URL", help="What callers reach it by (default: where it listens).")
@click.option("--caller", "callers", multiple=True, metavar="NAME", help="Who is let in (default: caller).")
@click.option("--budget", default="1", show_default=True, metavar="CREDIT", help="What each caller may spend in all.")
@click.option("--model", default="", metavar="NAME", help="Which model thinks (default: small).")
@click.option("--gateway", default="", metavar="URL", help="An OpenAI-compatible address, ending in /v1.")
@click.option("--key-file", default="", metavar="FILE", help="Its first line is the gateway's key.")
@click.option("--scripted", default="", metavar="FILE", help="A script plays the model, for tests and tours.")
@state_option("agents")
@pass_state
def serve(
    state: State, /, *, host: str, port: int, url: str, callers: tuple[str, ...], budget: str, model: str,
    gateway: str, key_file: str, scripted: str, folder: str | None,
) -> None:  # fmt: skip
    """Serve Tercet's assistant by A2A until Ctrl-C: each caller has a token and a budget of its own.

    A caller's token is made when it is first named, and lies in a file that only you read; give it to the caller.
    """
    units = Amount.parse(budget, CREDIT).units
    place = state.folder("agents", folder) / "served"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    tokens = _tokens(place, callers or ("caller",))
    _, chosen = choose_thinking(state.settings, model=model, gateway=gateway, key_file=key_file, script=scripted)
    upstream = open_thinking(chosen)
    run_role(_serve(place, upstream, chosen.get("model", ""), tokens, units, host=host, port=port, url=url))


def _tokens(place: Path, callers: Sequence[str]) -> Mapping[str, str]:
    """Name to token; made where there is none."""
    kept = Agents(place)
    for name in callers:
        if not _CALLER.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a caller: lower-case letters, digits and '-', at most 32.")
        if not kept.token(name):
            kept.keep_token(name, f"tca_{secrets.token_urlsafe(24)}")
    return {name: kept.token(name) for name in callers}


async def _serve(
    place: Path,
    upstream: Upstream,
    model: str,
    tokens: Mapping[str, str],
    units: int,
    *,
    host: str,
    port: int,
    url: str,
) -> None:
    # Seconds to import, and nobody else needs them.
    import uvicorn  # noqa: PLC0415

    from tercet.swarm.a2a import build_app  # noqa: PLC0415
    from tercet.swarm.a2a.service import Service  # noqa: PLC0415

    config = uvicorn.Config(_nobody, host=host, port=port, log_level="warning", timeout_graceful_shutdown=3)
    with contextlib.closing(config.bind_socket()) as listener, Journal(place / "journal.db") as journal:
        address = url or f"http://{host}:{listener.getsockname()[1]}/"
        async with Desk(journal, upstream) as desk:
            service = Service(
                journal, desk, await asyncio.to_thread(Sandbox.find), model or next(iter(upstream.models), "")
            )
            for caller in tokens:
                service.admit(caller, units)
            config.app = build_app("tercet", _ABOUT, service.answer, url=address, callers=tokens)
            files = {name: str(place / name / "token") for name in tokens}
            click.echo(json.dumps({"ready": True, "url": address, "tokens": files}))
            say(f"Serving Tercet's assistant at {address} for {', '.join(tokens)}; {Amount(units, CREDIT)} each.")
            await uvicorn.Server(config).serve([listener])


async def _nobody(*_: object) -> None:
    """Stands for the app, whose card needs the port, until the port is known."""
