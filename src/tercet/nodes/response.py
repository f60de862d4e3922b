"""What came of one question to one miner, before anybody judged it. A value, and its form on disk."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

from tercet.market import Task, Usage
from tercet.market.text import decode_json
from tercet.nodes import wire
from tercet.nodes.buyer import Transcript
from tercet.nodes.scores import Kind
from tercet.subnets import Piece, Submission

__all__ = ["Response", "decode_response", "encode_response", "read_pieces"]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, or why there is none."""

    kind: Kind
    task: Task
    submission: Submission
    charged: int = 0
    """Credit units paid for it."""
    usage: Usage = Usage()  # noqa: RUF009 - frozen
    transcript: Transcript | None = None
    """The exchange byte by byte, where it was kept for auditors."""

    @classmethod
    def failed(cls, kind: Kind, task: Task, uid: int, why: str, seconds: float = 0.0) -> Response:
        """No answer that could be judged."""
        return cls(kind, task, Submission(uid, [], seconds, seconds, b"", why))


def read_pieces(lines: bytes) -> list[Piece]:
    """The pieces of an answer from the bytes that its miner signed."""
    return [decode_json(line) for line in lines.split(b"\n") if line]


def encode_response(response: Response) -> bytes:
    """Everything of it, compressed."""
    submission, transcript = response.submission, response.transcript
    content: dict[str, Any] = {
        "kind": response.kind,
        "task": response.task,
        "charged": response.charged,
        "usage": [response.usage.prompt, response.usage.completion],
        "uid": submission.uid,
        "seconds": [submission.first_seconds, submission.total_seconds],
        "evidence": submission.evidence.hex(),
        "failure": submission.failure,
    }
    if transcript is None:
        content["pieces"] = list(submission.pieces)
    else:  # the pieces are in the lines
        kept = (transcript.head, transcript.body, transcript.lines, wire.encode_answer(transcript.answer))
        content["transcript"] = [part.decode("latin-1") for part in kept]
    return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 1)


def decode_response(data: bytes) -> Response:
    """Read what `encode_response` wrote."""
    content = json.loads(zlib.decompress(data))
    transcript, pieces = None, content.get("pieces")
    if pieces is None:
        head, body, lines, trailer = (part.encode("latin-1") for part in content["transcript"])
        transcript = Transcript(head, body, lines, wire.parse_answer(json.loads(trailer)["answer"]))
        pieces = read_pieces(lines)
    first, total = content["seconds"]
    evidence, failure = bytes.fromhex(content["evidence"]), content["failure"]
    submission = Submission(content["uid"], pieces, first, total, evidence, failure)
    return Response(
        content["kind"], content["task"], submission, content["charged"], Usage(*content["usage"]), transcript
    )
