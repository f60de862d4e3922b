"""The page stands alone, can be used without a mouse, and fits a phone."""

import re
from pathlib import Path

TEXT = Path("taskforge/page/index.html").read_text(encoding="utf-8")
assert "<!doctype html>" in TEXT.lower()
assert 'name="viewport"' in TEXT
assert re.search(r"<html[^>]* lang=", TEXT)
assert not re.search(r"""(src|href)=["']https?:""", TEXT), "nothing is fetched from elsewhere"
assert "onclick" not in TEXT
for field in re.findall(r"<input[^>]*>", TEXT):
    assert "aria-label" in field or "id=" in field, field
