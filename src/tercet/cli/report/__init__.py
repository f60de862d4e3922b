"""The page that a demo leaves behind: one HTML file, no script, no network."""

from __future__ import annotations

from tercet.cli.report.page import build_environment, render_report

__all__ = ["build_environment", "render_report"]
