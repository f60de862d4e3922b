"""Opening the database."""

import sqlite3
from pathlib import Path

_SCHEMA = Path(__file__).with_name("schema.sql")


def open_database(path):
    """A connection to the tasks at `path`; the tables are made if they are missing."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(_SCHEMA.read_text(encoding="utf-8"))
    return connection
