"""Write docs/reference/cli.md from the commands themselves.

Usage: scripts/build_cli_reference.py [--check]    --check changes nothing and fails when the page is out of date.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from tercet.cli.frame import NOUNS, Group, TercetCommand, global_options, root
from tercet.cli.settings import SETTINGS

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
GLOBAL = {option.name for option in global_options()}
HEAD = """# Commands

<!-- Written by scripts/build_cli_reference.py from the commands themselves. Change those, then run `make docs`. -->

`tercet <noun> <verb>`; bare `tercet` says what to do next.
Results go to stdout; progress, questions and errors to stderr.
Amounts in `--json` are integers in base units, written as text: 1 credit is 1,000,000 units, 1 TCT is 10^18.

## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong usage: an argument, a file or a setting |
| 3 | refused by a guard or a budget, or by you |
| 4 | network or chain unreachable |
| 130 | interrupted by Ctrl-C; nothing stays locked |
"""


def pages() -> Iterator[tuple[str, click.Command]]:
    """Every noun and verb, by what one types."""
    for noun in NOUNS:
        command = importlib.import_module(f"tercet.cli.{noun}").command
        yield noun, command
        if isinstance(command, Group):
            for verb, leaf in command.commands.items():
                yield f"{noun} {verb}", leaf


def table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    columns = head.count("|") - 1
    cells = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * columns, *cells]) + "\n"


def option_rows(command: click.Command) -> list[tuple[str, str]]:
    """The options that are a command's own."""
    context = click.Context(command)
    rows = []
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in GLOBAL and not option.hidden:
            words, meaning = option.get_help_record(context) or ("", "")
            rows.append((f"`{words}`", meaning))
    return rows


def section(words: str, command: click.Command) -> str:
    """One command's part of the page."""
    assert isinstance(command, TercetCommand | Group)
    usage = " ".join(command.collect_usage_pieces(click.Context(command)))
    level = "##" if isinstance(command, Group) or " " not in words else "###"
    parts = [f"\n{level} tercet {words}\n", inspect.cleandoc(command.help or "") + "\n"]
    parts.append(
        "```text\n" + "\n".join([f"Usage: tercet {words} {usage}".rstrip(), "", *command.examples]) + "\n```\n"
    )
    rows = [] if isinstance(command, Group) else option_rows(command)
    if rows:
        parts.append(table("| option | meaning |", rows))
    if isinstance(command, TercetCommand) and command.schema:
        fields = [(f"`{name}`", meaning) for name, meaning in command.schema.items()]
        parts.append("With `--json`:\n\n" + table("| field | meaning |", fields))
    return "\n".join(parts)


def build() -> str:
    """The whole page."""
    context = click.Context(root)
    shared = [option.get_help_record(context) or ("", "") for option in global_options()]
    settings = [(f"`{s.name}`", f"`{s.variable}`", f"`{s.default}`" if s.default else "", s.meaning) for s in SETTINGS]
    parts = [
        HEAD,
        "## Global options\n\nBefore or after the noun.\n",
        table("| option | meaning |", [(f"`{words}`", meaning) for words, meaning in shared]),
        "## Settings\n",
        "The first place that has it wins: flag, environment, `tercet.toml` in the working directory, `config.toml` under home, default.\n`tercet config show` says which one won.\n",
        table("| setting | environment | default | meaning |", settings),
    ]
    return "\n".join(parts) + "".join(section(*page) for page in pages())


def main() -> int:
    """Write the page, or compare it."""
    wanted = build()
    found = PAGE.read_text() if PAGE.exists() else ""
    if "--check" not in sys.argv[1:]:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(wanted)
        return 0
    if wanted == found:
        return 0
    sys.stderr.writelines(difflib.unified_diff(found.splitlines(True), wanted.splitlines(True), str(PAGE), "commands"))
    sys.stderr.write(f"\n{PAGE} is out of date. Run: make docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
