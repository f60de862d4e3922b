"""`tercet model`: fetch and list the model files."""

from __future__ import annotations

import time
from pathlib import Path

import click

from tercet.cli.frame import State, group, pass_state
from tercet.cli.output import is_terminal, print_json, print_table, say
from tercet.subnets.inference.hub import find_model
from tercet.subnets.inference.models import CATALOGUE
from tercet.subnets.inference.pull import Progress, is_verified

__all__ = ["command", "pull_progress"]

MIB = 1 << 20


@group("model", examples=("tercet model pull small", "tercet model list"))
def command() -> None:
    """Fetch and list the model files. They are kept in the folder of the setting `models`."""


def pull_progress(name: str) -> Progress:
    """Says how far a pull is: a line that is rewritten on a terminal, else a line every few seconds."""
    said = [0.0, -1.0]  # when, and at what fraction

    def report(done: int, whole: int) -> None:
        fraction, now = done / max(1, whole), time.monotonic()
        live = is_terminal()
        due = now - said[0] > (0.1 if live else 5) or fraction == 1
        if not due or fraction == said[1]:
            return
        said[:] = [now, fraction]
        line = f"{name}: {done // MIB} of {whole // MIB} MiB ({fraction:.0%})"
        click.echo(f"\r{line}" if live else line, err=True, nl=not live or fraction == 1)

    return report


@command.command("pull", examples=("tercet model pull small", "tercet model pull smol large minilm"))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@pass_state
def pull(state: State, names: tuple[str, ...]) -> None:
    """Fetch models into the cache and print their paths; goes on where it was interrupted.

    NAME is smol, small, large or minilm; or a GGUF file, or org/repo[:file.gguf] of Hugging Face.
    """
    for name in names:
        click.echo(find_model(name, state.settings.path("models"), pull_progress(name)))


def _is_here(folder: Path, name: str) -> bool:
    return all(is_verified(folder / file.name, file.sha256) for file in CATALOGUE[name].files)


@command.command(
    "list",
    examples=("tercet model list", "tercet model list --json"),
    schema={
        "models[].name": "what `tercet model pull` calls it",
        "models[].title": "its full name",
        "models[].licence": "SPDX identifier",
        "models[].bytes": "size of all its files",
        "models[].present": "whether it is in the cache, whole and verified",
        "models[].path": "where it is, or would be",
    },
)
@pass_state
def list_models(state: State, as_json: bool) -> None:
    """The models of the catalogue, and which of them are here."""
    folder = state.settings.path("models")
    rows = [
        {
            "name": model.name,
            "title": model.title,
            "licence": model.licence,
            "bytes": model.size,
            "present": _is_here(folder, model.name),
            "path": str(folder / model.files[0].name),
        }
        for model in CATALOGUE.values()
    ]
    if as_json:
        print_json({"models": rows})
        return
    print_table(
        ["name", "mib", "here", "title", "licence"],
        [
            [m.name, m.size // MIB, "yes" if r["present"] else "no", m.title, m.licence]
            for m, r in zip(CATALOGUE.values(), rows, strict=True)
        ],
        "",
    )
    say(f"In {folder}.")
