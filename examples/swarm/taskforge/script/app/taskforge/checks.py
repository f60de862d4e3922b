"""Is what a client sent a task?"""

from datetime import date


class BadInput(ValueError):
    """What is wrong with it, for the client."""


def check_new(body):
    """The fields of a new task."""
    fields = check_change(body)
    if "title" not in fields:
        raise BadInput("a task needs a title")
    fields.pop("done", None)
    return fields


def check_change(body):
    """The fields that are to be changed."""
    if not isinstance(body, dict):
        raise BadInput("the body is a JSON object")
    unknown = set(body) - {"title", "note", "due", "done"}
    if unknown:
        raise BadInput(f"unknown field {sorted(unknown)[0]!r}")
    return {name: _CHECKS[name](value) for name, value in body.items()}


def _title(value):
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= 200:
        raise BadInput("a title has 1 to 200 characters")
    return value.strip()


def _note(value):
    if not isinstance(value, str) or len(value) > 10_000:
        raise BadInput("a note is a text of at most 10,000 characters")
    return value


def _due(value):
    if value in (None, ""):
        return None
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise BadInput("due is a day as YYYY-MM-DD") from None


def _done(value):
    if not isinstance(value, bool):
        raise BadInput("done is true or false")
    return int(value)


_CHECKS = {"title": _title, "note": _note, "due": _due, "done": _done}
