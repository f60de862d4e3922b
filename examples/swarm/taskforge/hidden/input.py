"""Good input passes, cleaned; bad input is named."""

import sys

sys.path.insert(0, ".")
from taskforge.checks import BadInput, check_change, check_new

assert check_new({"title": " a "})["title"] == "a"
assert check_change({"due": "2030-01-31"})["due"] == "2030-01-31"
assert check_change({"due": None}) == {"due": None}
for bad in ({}, [], None, {"title": " "}, {"title": "a" * 201}, {"title": 3}, {"title": "a", "due": "2030-02-30"}):
    try:
        check_new(bad)
    except BadInput:
        continue
    raise AssertionError(f"this is no task: {bad!r}")
for bad in ({"done": "yes"}, {"done": 1}, {"id": 7}, {"note": None}):
    try:
        check_change(bad)
    except BadInput:
        continue
    raise AssertionError(f"this is no change: {bad!r}")
