"""Draw plots of a CSV: `chart.py DATA.csv FOLDER ID...`, ids as `facts.py` lists them. Needs matplotlib."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from facts import Table, load, plots_of  # type: ignore[import-not-found]


def draw(table: Table, plot: dict[str, str], path: Path) -> None:
    """One plot, as a PNG."""
    figure, axes = plt.subplots(figsize=(6, 4), dpi=100)
    x, y = plot["x"], plot["y"]
    if plot["kind"] == "histogram":
        axes.hist(table.filled(x), bins=min(20, max(5, table.count // 5)), color="#3b6ea5", edgecolor="white")
        axes.set_ylabel("rows")
    elif plot["kind"] == "bars":
        means = {label: statistics.fmean(values) for label, values in sorted(table.by_group(x, y).items())}
        axes.bar(list(means), list(means.values()), color="#3b6ea5")
        axes.set_ylabel(f"mean {y}")
    else:
        pairs = [(a, b) for a, b in zip(table.numbers[x], table.numbers[y], strict=True) if None not in (a, b)]
        axes.scatter([a for a, _ in pairs], [b for _, b in pairs], s=14, color="#3b6ea5")
        axes.set_ylabel(y)
    axes.set_xlabel(x)
    axes.set_title(plot["title"])
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": ""})
    plt.close(figure)


def main(data: str, folder: str, *ids: str) -> int:
    """Draw those; 1 when one is unknown."""
    table = load(data)
    known = {plot["id"]: plot for plot in plots_of(table)}
    if not set(ids) <= set(known):
        print(f"there are no plots {sorted(set(ids) - set(known))}")  # noqa: T201 - a program's output
        return 1
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in ids:
        draw(table, known[name], Path(folder) / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
