"""Write the table of docs/explanation/attacks.md from what `tercet attack all --json` printed.

Usage: tercet attack all --json > attacks.json; scripts/build_attack_table.py attacks.json
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "attacks.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def number(value: float) -> str:
    """Three digits; never rounded up to 1 from below."""
    return f"{math.floor(value * 1_000) / 1_000:.3f}" if value < 1 else f"{value:.3f}"


def row(finding: dict[str, Any]) -> str:
    """One line."""
    bound = finding.get("bound")
    cells = [
        f"`{finding['attack']}`",
        finding["variant"] or "",
        f"{finding['attacker']:.2f}",
        f"{finding['honest']:.2f}",
        f"**{number(finding['ratio'])}**",
        "" if finding["low"] is None else f"{number(finding['low'])} to {number(finding['high'])}",
        number(bound["ratio"]) if bound else "",
        finding["verdict"],
    ]
    return "| " + " | ".join(cells) + " |"


def build(report: dict[str, Any]) -> str:
    """The table and, under it, what the contracts refused."""
    head = "| attack | variant | attacker, TCT | honest, TCT | ratio | 95 % | proved bound | verdict |\n|---|---|---|---|---|---|---|---|"
    lines = [head, *(row(finding) for finding in report["findings"])]
    seeds = f"{report['seeds']} seeds from {report['first_seed']}"
    refused: dict[str, dict[str, int]] = {}
    for finding in report["findings"]:
        counts = refused.setdefault(finding["attack"], {})
        for reason, count in finding["refusals"].items():
            counts[reason] = counts.get(reason, 0) + count
    told = [
        f"- `{name}`: " + ", ".join(f"{count} x *{reason}*" for reason, count in counts.items())
        for name, counts in refused.items()
        if counts
    ]
    return "\n".join([*lines, "", f"{seeds}; {report['interval']}. Refused by the contracts:", "", *told, ""])


def main() -> int:
    """Replace what stands between the marks."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + build(json.loads(Path(sys.argv[1]).read_text())) + END + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
