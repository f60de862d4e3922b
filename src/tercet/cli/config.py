"""`tercet config`: what is set, and where it was set."""

from __future__ import annotations

from tercet.cli.frame import State, group, pass_state
from tercet.cli.output import print_json, print_table
from tercet.cli.settings import SETTINGS

__all__ = ["command"]


@group("config", examples=("tercet config show", "TERCET_CHAIN=http://127.0.0.1:8545 tercet config show --json"))
def command() -> None:
    """What is set, and where it was set: flag, environment, tercet.toml, config.toml in home, default."""


@command.command(
    "show",
    examples=("tercet config show", "tercet config show --json"),
    schema={
        "settings[].name": "name of the setting",
        "settings[].value": "its value as written",
        "settings[].source": "flag, environment, project file, user file or default: which one won",
        "settings[].variable": "its environment variable",
        "settings[].meaning": "what it does",
    },
)
@pass_state
def show(state: State, as_json: bool) -> None:
    """Every setting, its value, and which place won."""
    settings = state.settings
    rows = [
        {
            "name": setting.name,
            "value": settings.text(setting.name),
            "source": settings.values[setting.name].source,
            "variable": setting.variable,
            "meaning": setting.meaning,
        }
        for setting in SETTINGS
    ]
    if as_json:
        print_json({"settings": rows})
    else:
        print_table(
            ["name", "value", "source", "meaning"],
            [[r["name"], r["value"], r["source"], r["meaning"]] for r in rows],
            "",
        )
