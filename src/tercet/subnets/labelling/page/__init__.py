"""The page on which people label: who is there, what they are shown, and the small server in front of it."""

from __future__ import annotations

from tercet.subnets.labelling.page.crew import Crew, PageConfig, Training, read_training

__all__ = ["Crew", "PageConfig", "Training", "read_training"]
