"""The attacks: one file each, and in each file one `ATTACK`. A new file here is a new attack."""

from __future__ import annotations
