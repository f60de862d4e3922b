CREATE TABLE IF NOT EXISTS tasks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  title TEXT NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
  note TEXT NOT NULL DEFAULT '',
  due TEXT CHECK (due IS NULL OR length(due) = 10),
  done INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1)),
  created TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks (done, due);
