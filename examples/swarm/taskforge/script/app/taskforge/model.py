"""What a task is."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Task:
    """One thing to do."""

    id: int
    title: str
    note: str
    due: str | None
    done: bool
    created: str

    @classmethod
    def from_row(cls, row):
        """Read a row of the database."""
        return cls(row["id"], row["title"], row["note"], row["due"], bool(row["done"]), row["created"])

    def to_json(self):
        """As the API tells it."""
        return asdict(self)
