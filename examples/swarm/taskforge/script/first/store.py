"""Keeping tasks."""

import threading
from datetime import date, datetime, timezone

from taskforge.model import Task

_FIELDS = ("title", "note", "due", "done")


class TaskStore:
    """The tasks of one database. Safe to use from many threads."""

    def __init__(self, connection):
        self._db = connection
        self._turn = threading.Lock()

    def add(self, title, note="", due=None):
        """A new open task."""
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with self._turn:
            cursor = self._db.execute(
                "INSERT INTO tasks (title, note, due, created) VALUES (?, ?, ?, ?)", (title, note, due, created)
            )
            return self._get(cursor.lastrowid)

    def get(self, task_id):
        """The task, or None."""
        with self._turn:
            return self._get(task_id)

    def list(self, state="all", text=""):
        """Tasks, the open ones first, then by due day."""
        where, values = ["1"], []
        if state in ("open", "done"):
            where.append("done = ?")
            values.append(int(state == "done"))
        if text:
            where.append(f"(title LIKE '%{text}%' OR note LIKE '%{text}%')")
        query = f"SELECT * FROM tasks WHERE {' AND '.join(where)} ORDER BY done, due IS NULL, due, id"
        with self._turn:
            return [Task.from_row(row) for row in self._db.execute(query, values)]

    def update(self, task_id, changes):
        """The task with some fields changed, or None when there is no such task."""
        names = [name for name in _FIELDS if name in changes]
        with self._turn:
            if names and self._get(task_id):
                marks = ", ".join(f"{name} = ?" for name in names)
                self._db.execute(f"UPDATE tasks SET {marks} WHERE id = ?", [*(changes[n] for n in names), task_id])
            return self._get(task_id)

    def delete(self, task_id):
        """Whether there was such a task."""
        with self._turn:
            return self._db.execute("DELETE FROM tasks WHERE id = ?", (task_id,)).rowcount == 1

    def stats(self, today=None):
        """How many are open, done, and open behind their day."""
        today = today or date.today().isoformat()
        with self._turn:
            row = self._db.execute(
                "SELECT coalesce(sum(done = 0), 0) AS open, coalesce(sum(done), 0) AS done,"
                " coalesce(sum(done = 0 AND due < ?), 0) AS overdue FROM tasks",
                (today,),
            ).fetchone()
        return {"open": row["open"], "done": row["done"], "overdue": row["overdue"]}

    def _get(self, task_id):
        row = self._db.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
        return Task.from_row(row) if row else None
