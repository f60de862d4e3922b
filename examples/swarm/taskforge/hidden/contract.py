"""The API's page names every request and every field."""

from pathlib import Path

TEXT = Path("API.md").read_text(encoding="utf-8")
for word in ("GET", "POST", "PATCH", "DELETE", "/api/tasks", "/api/stats", "title", "note", "due", "done", "created"):
    assert word in TEXT, f"API.md says nothing of {word}"
