"""The language of OpenAI's API: what clients send, read strictly; what they get back, built; errors in its shape.

No sockets and no money here. What a field does, what is ignored and what is refused stands in docs/reference/gateway.md.
"""

from __future__ import annotations

import base64
import secrets
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from tercet.errors import CallError, MinerMisbehaved
from tercet.market import Receipt, Task, Usage
from tercet.subnets import Piece

__all__ = [
    "ChatPiece",
    "ChatRequest",
    "EmbeddingRequest",
    "build_chunk",
    "build_completion",
    "build_embeddings",
    "build_error",
    "build_logprobs",
    "parse_body",
    "read_chat",
    "read_chat_piece",
    "read_vectors",
]

_Request = TypeVar("_Request", bound="_Strict")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class _Part(_Strict):
    type: Literal["text"]
    text: str


class _Message(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]

    def plain(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class _StreamOptions(_Strict):
    include_usage: bool = False


class ChatRequest(_Strict):
    """A body of POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[_Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: int | None = None
    stop: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    logprobs: bool | None = None

    # What would change the answer and nobody here can do: refused unless it asks for nothing.
    n: Any = None
    top_p: Any = None
    top_logprobs: Any = None
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    response_format: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    logit_bias: Any = None
    modalities: Any = None
    audio: Any = None
    web_search_options: Any = None

    _drawn: int = PrivateAttr(default_factory=lambda: secrets.randbelow(2**31))

    def validate_supported(self) -> None:
        """Refuse what would be silently wrong if it were ignored."""
        for name, harmless in _HARMLESS.items():
            value = getattr(self, name)
            if value is not None and value not in harmless:
                raise CallError(
                    f"{name}={_short(value)} is not supported by this market. Leave it out.",
                    code="unsupported_parameter",
                    param=name,
                )

    def tokens(self, default: int) -> int:
        """The most tokens to answer with."""
        return self.max_completion_tokens or self.max_tokens or default

    def task(self, max_tokens: int) -> Task:
        """The inference subnet's task for it, with every field and in the order that a validator's challenge has.

        A miner that could tell the two apart would be honest with validators only. The same seed has the same answer,
        so a client that names none gets one drawn.
        """
        return {
            "kind": "chat",
            "messages": [message.plain() for message in self.messages],
            "max_tokens": max_tokens,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "seed": self._drawn if self.seed is None else self.seed % 2**63,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop or [],
        }

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage


_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
}
"""Fields that we cannot honour, and the values that ask for nothing."""


class EmbeddingRequest(_Strict):
    """A body of POST /v1/embeddings."""

    model: str
    input: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Any = None

    def validate_supported(self) -> None:
        """Refuse what cannot be honoured."""
        if self.dimensions is not None:
            raise CallError(
                "dimensions is not supported: the model's own number is used. Leave it out.",
                code="unsupported_parameter",
                param="dimensions",
            )
        if not all(self.texts):
            raise CallError("An input is empty. Send texts of at least one character.", param="input")

    @property
    def texts(self) -> list[str]:
        """The inputs, one or many."""
        return [self.input] if isinstance(self.input, str) else self.input

    def task(self) -> Task:
        """The inference subnet's task for it."""
        return {"kind": "embed", "input": self.texts}


def parse_body(kind: type[_Request], body: bytes) -> _Request:
    """Read a stranger's JSON.

    Raises:
        CallError: 400 when it is no JSON object, 422 when a field is missing or out of range; it names the field.

    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or None
        if where is None:
            raise CallError(
                f"The body is not a JSON object: {first['msg']}.", status=400, code="invalid_json"
            ) from None
        raise CallError(f"{where}: {first['msg']}.", param=str(first["loc"][0])) from None


# what miners send


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """One line of a miner's answer, read."""

    text: str
    tokens: tuple[tuple[int, float], ...]
    """(token id, natural log of its probability), in order."""
    finish: Literal["stop", "length"] | None
    """Why it ended, in the last piece."""


def read_chat_piece(piece: Piece) -> ChatPiece:
    """Read one line of an answer; `MinerMisbehaved` when it is not as the subnet has it."""
    text, tokens, finish = piece.get("text", ""), piece.get("tokens", []), piece.get("finish")
    if not isinstance(text, str) or not isinstance(tokens, list) or finish not in (None, "stop", "length"):
        raise MinerMisbehaved("A piece of the answer is malformed.")
    if not _is_encodable(text) or not all(_is_token(token) for token in tokens):
        raise MinerMisbehaved("The text or the tokens of a piece are malformed.")
    return ChatPiece(text, tuple((token, float(logprob)) for token, logprob in tokens), finish)


def _is_token(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and type(value[0]) is int and _is_number(value[1])


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_chat(pieces: Sequence[ChatPiece]) -> Sequence[ChatPiece]:
    """A whole answer: the same pieces; `MinerMisbehaved` when it does not say why it ended."""
    if not pieces or pieces[-1].finish is None:
        raise MinerMisbehaved("The answer does not say why it ended.")
    return pieces


def read_vectors(pieces: Sequence[Piece], count: int) -> list[list[float]]:
    """The `count` vectors of an answer; `MinerMisbehaved` when there are more, fewer, or they are no numbers."""
    lists = [piece.get("vectors", []) for piece in pieces]
    if not all(isinstance(vectors, list) for vectors in lists):
        raise MinerMisbehaved("The vectors of a piece are no list.")
    vectors = [vector for vectors in lists for vector in vectors]
    if len(vectors) != count:
        raise MinerMisbehaved(f"The miner sent {len(vectors)} vectors for {count} inputs.")
    if not all(isinstance(vector, list) and vector and all(_is_number(x) for x in vector) for vector in vectors):
        raise MinerMisbehaved("A vector is not a list of numbers.")
    return vectors


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 3.4e38


# what clients get


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }


def _tercet(receipt: Receipt) -> dict[str, Any]:
    return {
        "receipt": receipt.id,
        "status": receipt.status,
        "miner": receipt.uid,
        "operator": receipt.operator,
        "cost": receipt.charged,
        "price": asdict(receipt.price),
    }


def build_logprobs(pieces: Iterable[ChatPiece]) -> dict[str, Any]:
    """Log-probabilities of an answer's tokens.

    The text of a piece stands at its first token, since miners send texts by piece and not by token. A token whose text
    is held back (half a character, or what may become a stop) is empty, and the text comes with a later one.
    """
    content = [
        {
            "token": piece.text if place == 0 else "",
            "logprob": logprob,
            "bytes": list(piece.text.encode()) if place == 0 else [],
            "top_logprobs": [],
        }
        for piece in pieces
        for place, (_, logprob) in enumerate(piece.tokens)
    ]
    return {"content": content, "refusal": None}


def build_completion(request: ChatRequest, pieces: Sequence[ChatPiece], receipt: Receipt) -> dict[str, Any]:
    """The whole answer to a chat."""
    return {
        "id": receipt.id,
        "object": "chat.completion",
        "created": receipt.time_ms // 1000,
        "model": request.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "".join(piece.text for piece in pieces), "refusal": None},
                "finish_reason": pieces[-1].finish,
                "logprobs": build_logprobs(pieces) if request.logprobs else None,
            }
        ],
        "usage": _usage(receipt.usage),
        "tercet": _tercet(receipt),
    }


def build_chunk(
    request: ChatRequest,
    call_id: str,
    time_ms: int,
    *,
    delta: Mapping[str, Any] | None = None,
    finish: str | None = None,
    logprobs: Mapping[str, Any] | None = None,
    receipt: Receipt | None = None,
) -> dict[str, Any]:
    """One event of a streamed chat. Without a delta it is the final chunk of usage."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
    chunk: dict[str, Any] = {
        "id": call_id,
        "object": "chat.completion.chunk",
        "created": time_ms // 1000,
        "model": request.model,
        "choices": [] if delta is None else [choice],
    }
    if request.wants_usage:
        chunk["usage"] = _usage(receipt.usage) if receipt is not None and delta is None else None
    if receipt is not None:
        chunk["tercet"] = _tercet(receipt)
    return chunk


def build_embeddings(request: EmbeddingRequest, vectors: Sequence[Sequence[float]], receipt: Receipt) -> dict[str, Any]:
    """The answer to a request for embeddings."""
    return {
        "object": "list",
        "model": request.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _encode(vector, request.encoding_format)}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": receipt.usage.prompt, "total_tokens": receipt.usage.prompt},
        "tercet": _tercet(receipt),
    }


def _encode(vector: Sequence[float], encoding: str) -> str | list[float]:
    if encoding == "float":
        return list(vector)
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def build_error(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
