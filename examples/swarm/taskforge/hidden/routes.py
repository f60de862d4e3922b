"""Paths lead to functions; a wrong method is told from a wrong path."""

import sys

sys.path.insert(0, ".")
from taskforge.routes import Router

router = Router()
router.add("GET", "/things", len)
router.add("GET", "/things/{id}", max)
assert router.find("GET", "/things") == (len, {})
assert router.find("GET", "/things/42") == (max, {"id": 42})
assert router.find("PUT", "/things/42") == 405
for path in ("/", "/thing", "/things/", "/things/x", "/things/1/2", "/things/" + "9" * 400):
    assert router.find("GET", path) == 404, path
