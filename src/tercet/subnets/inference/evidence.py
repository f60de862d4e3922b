"""What a miner sent for a chat task, read with suspicion: junk ends here as one sentence, in bounded time."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tercet.subnets.inference.tasks import ChatTask

__all__ = ["ChatAnswer", "Flaw", "check_text", "choose_positions", "read_answer"]

_UNSURE = -0.3
"""Log-probability below which a token says something about the model: everybody agrees on the obvious ones."""
_MAX_CHARACTERS = 64
"""Of text for one token, on average."""


class Flaw(Exception):  # noqa: N818  a verdict on its way, not an error of ours
    """An answer is worth nothing; the text says why, to its miner."""


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A well-formed answer; nothing in it is believed yet."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish: str
    """stop or length."""


def read_answer(task: ChatTask, pieces: Sequence[Any], *, vocabulary: int, prompt: int) -> ChatAnswer:
    """Put the pieces together.

    Args:
        task: what was asked.
        pieces: what came, any JSON.
        vocabulary: token ids are below this.
        prompt: tokens of the prompt, by the judge's count.

    Raises:
        Flaw: they are not an answer of the promised form.

    """
    if not pieces or len(pieces) > task.max_tokens + 8:
        raise Flaw(f"{len(pieces)} pieces came; an answer has 1 to {task.max_tokens + 8}")
    tokens: list[int] = []
    logprobs: list[float] = []
    texts: list[str] = []
    for piece in pieces:
        _read_piece(piece, task, vocabulary, tokens, logprobs, texts)
    last = pieces[-1]
    finish = last.get("finish")
    if not isinstance(finish, str) or finish not in {"stop", "length"}:
        raise Flaw("the last piece has no finish of 'stop' or 'length'")
    _check_usage(last.get("usage"), prompt, len(tokens))
    if not tokens:
        raise Flaw("the answer has no tokens")
    if finish == "length" and len(tokens) != task.max_tokens:
        raise Flaw(f"it ended for length after {len(tokens)} tokens; {task.max_tokens} were asked for")
    return ChatAnswer(tuple(tokens), tuple(logprobs), "".join(texts), finish)


def _read_piece(
    piece: Any, task: ChatTask, vocabulary: int, tokens: list[int], logprobs: list[float], texts: list[str]
) -> None:
    text, pairs = (piece.get("text"), piece.get("tokens")) if isinstance(piece, Mapping) else (None, None)
    if not isinstance(text, str) or not isinstance(pairs, (list, tuple)):
        raise Flaw("a piece lacks its text or its tokens")
    if len(pairs) + len(tokens) > task.max_tokens:
        raise Flaw(f"more than the {task.max_tokens} tokens that were asked for")
    if len(text) > _MAX_CHARACTERS * task.max_tokens:
        raise Flaw("a piece has more text than its tokens can hold")
    for pair in pairs:
        token, logprob = _read_pair(pair, vocabulary)
        tokens.append(token)
        logprobs.append(logprob)
    texts.append(text)


def _read_pair(pair: Any, vocabulary: int) -> tuple[int, float]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise Flaw("a token is not a pair of id and log-probability")
    token, logprob = pair
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocabulary:
        raise Flaw(f"a token id is outside the vocabulary of {vocabulary}")
    if isinstance(logprob, bool) or not isinstance(logprob, (int, float)) or not -1e4 < logprob <= 1e-3:
        raise Flaw("a log-probability is not a number of at most 0")
    return token, float(logprob)


def _check_usage(usage: Any, prompt: int, completion: int) -> None:
    if not isinstance(usage, Mapping):
        raise Flaw("the last piece has no usage")
    for what, true in (("prompt", prompt), ("completion", completion)):
        claimed = usage.get(what)
        if isinstance(claimed, bool) or not isinstance(claimed, int):
            raise Flaw(f"the usage has no number of {what} tokens")
        if claimed != true:
            count = str(claimed) if abs(claimed) < 10**9 else "too many"
            raise Flaw(
                f"{count} {what} tokens are charged for, the promised model counts {true}: another model answered, or the count is padded"
            )


def check_text(answer: ChatAnswer, before: str, last: str, stops: Sequence[str], *, ended: bool) -> None:
    """Hold the answer's text against its tokens.

    Args:
        answer: what came.
        before: text of all tokens but the last, by the judge's own tokenizer.
        last: text of all tokens, without a closing control token.
        stops: of the task.
        ended: a control token closed the answer.

    Raises:
        Flaw: they differ, or the answer went on after its end, or stopped without one.

    """
    if any(stop in before for stop in stops):
        raise Flaw("the answer went on after a stop")
    cut = min((at for stop in stops if (at := last.find(stop)) >= 0), default=len(last))
    stopped = ended or cut < len(last)
    if stopped != (answer.finish == "stop"):
        raise Flaw(f"it claims to have ended for {answer.finish}, and its tokens say otherwise")
    if _comparable(last[:cut]) != _comparable(answer.text):
        raise Flaw("its tokens do not spell its text")


def _comparable(text: str) -> str:
    """Without the marks of broken characters, and without the leading space that some tokenizers add or drop."""
    return text.replace("\ufffd", "").lstrip(" ")


def choose_positions(answer: ChatAnswer, evidence: bytes, salt: bytes, count: int) -> Sequence[int]:
    """Which tokens to check, ascending: drawn from the unsure ones first, unknowable before the answer was signed.

    Args:
        answer: what came.
        evidence: the miner's signature.
        salt: the judge's secret.
        count: how many; the last token comes on top when it claims to end the answer.

    """
    lottery = random.Random(hashlib.sha256(evidence + salt).digest())
    unsure = [index for index, logprob in enumerate(answer.logprobs) if logprob < _UNSURE]
    sure = [index for index, logprob in enumerate(answer.logprobs) if logprob >= _UNSURE]
    lottery.shuffle(unsure)
    lottery.shuffle(sure)
    chosen = set((unsure + sure)[:count])
    if answer.finish == "stop":
        chosen.add(len(answer.tokens) - 1)
    return sorted(chosen)
