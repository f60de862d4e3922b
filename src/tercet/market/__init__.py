"""The rules of the market: frozen values and pure maths. No I/O, no clock, nothing of ours below it."""

from __future__ import annotations

from tercet.market.amount import CREDIT, STAKE, Amount, Token
from tercet.market.job import Cause, Job, JobState, JobVerdict, Split
from tercet.market.message import Answer, ChannelConfig, Price, Task, Usage, Voucher
from tercet.market.rating import Figure, Rating, Reading
from tercet.market.receipt import Receipt, Status
from tercet.market.route import Offer, Taste, rank, rest_seconds
from tercet.market.verdict import FULL_ROW, Verdict, build_row

__all__ = [
    "CREDIT",
    "FULL_ROW",
    "STAKE",
    "Amount",
    "Answer",
    "Cause",
    "ChannelConfig",
    "Figure",
    "Job",
    "JobState",
    "JobVerdict",
    "Offer",
    "Price",
    "Rating",
    "Reading",
    "Receipt",
    "Split",
    "Status",
    "Task",
    "Taste",
    "Token",
    "Usage",
    "Verdict",
    "Voucher",
    "build_row",
    "rank",
    "rest_seconds",
]
