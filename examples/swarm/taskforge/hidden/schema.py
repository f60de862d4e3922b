"""The tables can be made twice, and refuse what no task is."""

import sqlite3
from pathlib import Path

db = sqlite3.connect(":memory:")
for _ in range(2):
    db.executescript(Path("taskforge/schema.sql").read_text(encoding="utf-8"))
db.execute("INSERT INTO tasks (title, created) VALUES ('x', '2030-01-01')")
for bad in ("INSERT INTO tasks (title, created) VALUES ('', 'x')", "UPDATE tasks SET done = 7"):
    try:
        db.execute(bad)
    except sqlite3.IntegrityError:
        continue
    raise AssertionError(f"the schema lets through: {bad}")
