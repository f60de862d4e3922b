"""How near MiniLM finds what belongs together: the distance below which a claim goes into a prompt.

python benchmarks/recall.py

Each question of a task is held against the claim that answers it and against those that belong to other tasks. Small and
written by hand: it tells where the two kinds part, not how good a search is.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

from tercet.subnets.inference import Embedder, pull
from tercet.swarm.run_memory import NEAR

PAIRS = (
    ("Which region sold most?", "sales.csv: The largest revenue, 95.4, is in the region north"),
    ("Write a short note on how warm the rooms were", "rooms.csv: The mean temperature of room 3 is 21.4"),
    ("Write the page that lists the tasks by the HTTP API", "The HTTP API answers GET /tasks with the list of tasks"),
    ("Write tests for the store of tasks", "store.py keeps the tasks in an SQLite table"),
    ("Connect to the database", "The database runs on port 5432"),
    ("Fix the function that parses dates", "parse_date reads dates as year-month-day"),
    ("Write the mail that goes to the printer's shop", "The printer's invoice is twelve credit"),
    ("Say when the report is due", "The deadline of the report is on Friday"),
)


async def main() -> int:
    """Print both kinds; 1 when the threshold lets anything of another task in."""
    embedder = await Embedder.load(await asyncio.to_thread(pull, "minilm"))
    asked, claimed = [(await embedder.embed(list(texts))).vectors for texts in zip(*PAIRS, strict=True)]
    lengths = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(claimed, axis=1)[None]
    distance = 1 - asked @ claimed.T / lengths
    own, others = np.diag(distance), distance[~np.eye(len(PAIRS), dtype=bool)]
    for (question, claim), found in sorted(zip(PAIRS, own, strict=True), key=lambda pair: pair[1]):
        print(f"{found:.2f}  {question}  |  {claim}")
    print(f"own: {own.min():.2f} to {own.max():.2f}, {sum(own <= NEAR)} of {len(own)} within {NEAR}")
    print(f"others: {others.min():.2f} to {others.max():.2f}, {sum(others <= NEAR)} of {len(others)} within {NEAR}")
    return int(others.min() <= NEAR)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
