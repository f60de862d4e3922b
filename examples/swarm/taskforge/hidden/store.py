"""What goes in comes out, in order; what is not there is not there; quotes are no SQL."""

import sys

sys.path.insert(0, ".")
from taskforge.db import open_database
from taskforge.store import TaskStore

store = TaskStore(open_database(":memory:"))
a = store.add("Buy milk", due="2030-05-01")
b = store.add("x'; DROP TABLE tasks; --", note="100%")
assert [task.id for task in store.list()] == [a.id, b.id]
assert store.update(a.id, {"done": 1}).done is True
assert [task.id for task in store.list("open")] == [b.id]
assert [task.id for task in store.list(text="MILK")] == [a.id]
assert [task.id for task in store.list(text="%")] == [b.id], "a search is for the text itself"
assert store.get(99) is None
assert store.update(99, {"done": 1}) is None
assert store.delete(99) is False
assert store.delete(b.id) is True
