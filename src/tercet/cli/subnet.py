"""`tercet subnet`: the competitions that are installed."""

from __future__ import annotations

from importlib.metadata import entry_points

from tercet.cli.frame import group
from tercet.cli.output import print_json, print_table

__all__ = ["command"]


@group("subnet", examples=("tercet subnet list", "tercet subnet list --json"))
def command() -> None:
    """The competitions that are installed; a plugin adds one by an entry point."""


@command.command(
    "list",
    examples=("tercet subnet list", "tercet subnet list --json"),
    schema={
        "subnets[].name": "what `tercet mine NAME` calls it",
        "subnets[].version": "the mechanism's version; validators of different versions do not mix",
        "subnets[].about": "its first line of documentation",
        "subnets[].plugin": "where it is loaded from",
    },
)
def list_subnets(as_json: bool) -> None:
    """Every mechanism that is installed here."""
    rows = []
    for point in sorted(entry_points(group="tercet.subnets"), key=lambda point: point.name):
        mechanism = point.load()
        about = (mechanism.__doc__ or "").strip().partition("\n")[0]
        rows.append({"name": point.name, "version": mechanism.version, "about": about, "plugin": point.value})
    if as_json:
        print_json({"subnets": rows})
    else:
        print_table(["name", "version", "about"], [[r["name"], r["version"], r["about"]] for r in rows], "None.")
