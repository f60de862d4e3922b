"""Tercet: an open market for machine intelligence, and the swarm that spends on it."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
