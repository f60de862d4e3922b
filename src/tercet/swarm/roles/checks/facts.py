"""Compute what a CSV says: `facts.py DATA.csv --write FILE` writes facts as JSON; `--check FILE` compares with it.

A fact has an id, the columns it is about, words, and the number in it as it is to be printed.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

MAX_ROWS = 200_000
MAX_FACTS = 60
_MAX_GROUPS = 12


class Table:
    """A CSV with a header: columns by name, numbers where all filled cells are numbers."""

    def __init__(self, text: str) -> None:
        dialect = _dialect(text)
        rows = [row for row in csv.reader(text.splitlines(), dialect) if any(cell.strip() for cell in row)]
        if len(rows) < 3 or len(rows) > MAX_ROWS:
            raise ValueError(f"a header and 2 to {MAX_ROWS} rows are needed, not {len(rows)} lines")
        header = [name.strip() for name in rows[0]]
        if len(set(header)) != len(header) or not all(header) or any(len(row) != len(header) for row in rows):
            raise ValueError("the header needs distinct names, and each row as many cells as the header")
        self.names = header
        self.count = len(rows) - 1
        self.cells = {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(header)}
        self.numbers = {name: numbers for name in header if (numbers := _numbers(self.cells[name]))}

    @property
    def groups(self) -> list[str]:
        """Columns that sort the rows into a few groups."""
        return [name for name in self.names if name not in self.numbers and 2 <= self._kinds(name) <= _MAX_GROUPS]

    def _kinds(self, name: str) -> int:
        return len({cell for cell in self.cells[name] if cell})

    def filled(self, name: str) -> list[float]:
        """The numbers of a column, without its empty cells."""
        return [value for value in self.numbers[name] if value is not None]

    def by_group(self, group: str, name: str) -> dict[str, list[float]]:
        """The numbers of a column by the value of another."""
        found: dict[str, list[float]] = {}
        for label, value in zip(self.cells[group], self.numbers[name], strict=True):
            if label and value is not None:
                found.setdefault(label, []).append(value)
        return found


def _dialect(text: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(text[:8192], delimiters=",;\t|")
    except csv.Error:
        return csv.excel


def _numbers(cells: list[str]) -> list[float | None] | None:
    """None when the column holds something else than numbers."""
    found: list[float | None] = []
    for cell in cells:
        try:
            value = float(cell) if cell else None
        except ValueError:
            return None
        if value is not None and not math.isfinite(value):
            return None
        found.append(value)
    return found if any(value is not None for value in found) else None


def show(value: float) -> str:
    """A number as it is printed everywhere."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"


def facts_of(table: Table) -> list[dict[str, object]]:
    """All facts, the plain ones first."""
    found: list[tuple[list[str], str, str, str]] = [([], "", "the number of rows", show(table.count))]
    for name in table.numbers:
        values = table.filled(name)
        found.append(([name], "", f"the mean of {name}", show(statistics.fmean(values))))
        found.append(([name], "", f"the smallest {name}", show(min(values))))
        found.append(([name], "", f"the largest {name}", show(max(values))))
        found.append(([name], "", f"the median of {name}", show(statistics.median(values))))
    for group in table.groups:
        label, count = Counter(cell for cell in table.cells[group] if cell).most_common(1)[0]
        text = f"rows whose {group} is {label}, the most frequent {group}"
        found.append(([group], label, text, show(count)))
        for name in table.numbers:
            found += _extremes(group, name, table.by_group(group, name))
    for one, other in combinations(table.numbers, 2):
        pairs = [
            (a, b)
            for a, b in zip(table.numbers[one], table.numbers[other], strict=True)
            if a is not None and b is not None
        ]
        if len(pairs) > 2 and len({a for a, _ in pairs}) > 1 and len({b for _, b in pairs}) > 1:
            value = statistics.correlation([a for a, _ in pairs], [b for _, b in pairs])
            found.append(([one, other], "", f"the correlation of {one} and {other}", show(value)))
    return [
        {"id": f"F{number}", "columns": columns, "label": label, "text": text, "value": value}
        for number, (columns, label, text, value) in enumerate(found[:MAX_FACTS], 1)
    ]


def _extremes(group: str, name: str, values: dict[str, list[float]]) -> list[tuple[list[str], str, str, str]]:
    """The groups with the highest and the lowest mean; none where all groups are alike."""
    means = {label: statistics.fmean(numbers) for label, numbers in values.items()}
    top, low = max(sorted(means), key=means.__getitem__), min(sorted(means), key=means.__getitem__)
    if show(means[top]) == show(means[low]):
        return []
    return [
        ([group, name], label, f"the mean {name} of {group} {label}, the {word} of all", show(means[label]))
        for label, word in ((top, "highest"), (low, "lowest"))
    ]


def plots_of(table: Table) -> list[dict[str, str]]:
    """The plots that the data allows."""
    found = [{"kind": "bars", "x": group, "y": name} for group in table.groups for name in table.numbers]
    found += [{"kind": "scatter", "x": one, "y": other} for one, other in combinations(table.numbers, 2)]
    found += [{"kind": "histogram", "x": name, "y": ""} for name in table.numbers]
    return [{"id": f"P{number}", **plot, "title": title(plot)} for number, plot in enumerate(found[:24], 1)]


def title(plot: dict[str, str]) -> str:
    """What a plot shows."""
    shapes = {"histogram": "Distribution of {x}", "bars": "Mean {y} by {x}", "scatter": "{y} against {x}"}
    return shapes[plot["kind"]].format(**plot)


def load(path: str) -> Table:
    """A CSV file."""
    return Table(Path(path).read_bytes().decode("utf-8-sig", errors="replace"))


def summary(path: str) -> dict[str, object]:
    """Everything that can be said of a file."""
    table = load(path)
    return {
        "rows": table.count,
        "columns": {name: "number" if name in table.numbers else "text" for name in table.names},
        "facts": facts_of(table),
        "plots": plots_of(table),
    }


def main(path: str, way: str, facts: str) -> int:
    """0 when it could be computed, or is equal to what was computed before."""
    found = json.dumps(summary(path), indent=1, ensure_ascii=False)
    if way == "--write":
        Path(facts).parent.mkdir(parents=True, exist_ok=True)
        Path(facts).write_text(found + "\n", encoding="utf-8")
        return 0
    same = Path(facts).read_text(encoding="utf-8").strip() == found
    print("the same" if same else f"{facts} is not what {path} says")  # noqa: T201 - a program's output
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
