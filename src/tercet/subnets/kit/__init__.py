"""What mechanisms share that pay strangers for work: chance, bounds, copies, spot checks, ratings, logs, arrays, the sandbox.

docs/explanation/verification.md says why each rule is there.
"""

from __future__ import annotations

from tercet.subnets.kit.arrays import decode_array, encode_array, inflate
from tercet.subnets.kit.beacon import derive, lottery
from tercet.subnets.kit.copies import Entry, find_copies
from tercet.subnets.kit.log import JudgeLog
from tercet.subnets.kit.paired import Bound, bound_gain
from tercet.subnets.kit.rating import Ladder
from tercet.subnets.kit.sandbox import Limits, Outcome, Sandbox, read_result
from tercet.subnets.kit.spotcheck import check_probability, picks
from tercet.subnets.kit.winner import Ranking, settle_ranking

__all__ = [
    "Bound",
    "Entry",
    "JudgeLog",
    "Ladder",
    "Limits",
    "Outcome",
    "Ranking",
    "Sandbox",
    "bound_gain",
    "check_probability",
    "decode_array",
    "derive",
    "encode_array",
    "find_copies",
    "inflate",
    "lottery",
    "picks",
    "read_result",
    "settle_ranking",
]
