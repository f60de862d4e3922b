"""A research agent on pydantic-ai: reads documents, answers with quotations. Imports nothing of ours.

A quotation counts as checked only when this program finds it, letter by letter, in the document that it is said to be
from. Pages of the web are fetched by whoever started it, if the agent may.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tercet_lines as lines
from pydantic import BaseModel, Field
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits

SUFFIXES = (".md", ".txt", ".rst", ".csv", ".html", ".json", ".py")
PAGE = 6000
"""Characters that one reading shows."""
pages: dict[str, str] = {}
"""What was fetched, by address."""
INSTRUCTIONS = """You answer a question from documents. List them, search them, read what matters, then answer.
Every statement of the answer is backed by a quotation: the exact words, copied letter by letter, and the document they
are from. Say so when the documents do not answer the question."""


class Citation(BaseModel):
    """Where a statement is from."""

    document: str
    quotation: str = Field(min_length=1, max_length=500)


class Answer(BaseModel):
    """What was found."""

    answer: str = Field(min_length=1, max_length=8000)
    citations: list[Citation] = Field(max_length=32)


def documents() -> list[str]:
    """Names of all documents."""
    return [str(path) for path in lines.files([], SUFFIXES)][:200]


def search(words: str) -> list[str]:
    """Lines that have one of the words, as `document:number: line`; the ones with most of them first."""
    wanted = {word.lower() for word in re.findall(r"\w+", words)}
    hits = []
    for name in documents():
        for number, line in enumerate(text_of(name).splitlines(), 1):
            found = len(wanted & {word.lower() for word in re.findall(r"\w+", line)})
            if found:
                hits.append((-found, f"{name}:{number}: {line.strip()[:300]}"))
    return [hit for _, hit in sorted(hits)[:20]]


def read(document: str, start: int = 0) -> str:
    """A document's text from a character on."""
    return text_of(document)[start : start + PAGE] or "(nothing there)"


def fetch(address: str) -> str:
    """A page of the web; refused where the agent may not."""
    told = lines.ask(fetch=address)
    if "text" not in told:
        return f"refused: {told.get('refused', '')}"
    pages[address] = str(told["text"])
    return pages[address][:PAGE]


def text_of(name: str) -> str:
    """What a document says; nothing for a name that is none."""
    if name in pages:
        return pages[name]
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.is_file():
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def plain(text: str) -> str:
    """With its white space evened out."""
    return " ".join(text.split())


def granted(order: dict[str, Any]) -> list[Any]:
    """The tools that its task was granted."""
    if "mcp" not in order:
        return []
    try:
        from pydantic_ai.mcp import MCPToolset
    except ImportError as error:  # the environment is older than this, and does for tasks without tools
        raise RuntimeError(
            "no MCP client is installed: add the agent again, tercet agent add research-agent"
        ) from error
    return [MCPToolset(order["mcp"])]


def work(order: dict[str, Any]) -> str:
    """Ask, check the quotations, write the answer down."""
    model = OpenAIChatModel(order["model"], provider=OpenAIProvider(base_url=order["url"], api_key=order["key"]))
    agent = Agent(
        model,
        output_type=Answer,
        instructions=INSTRUCTIONS,
        tools=[documents, search, read, fetch],
        toolsets=granted(order),
        retries=2,
    )
    limits = UsageLimits(request_limit=order["steps"])
    found = agent.run_sync(order["task"], usage_limits=limits).output
    marks = []
    for number, each in enumerate(found.citations, 1):
        checked = plain(each.quotation) in plain(text_of(each.document))
        state = "" if checked else " (not found there)"
        marks.append(f"{number}. {each.document}: “{each.quotation}”{state}")
        lines.say(claim=each.quotation, sources=[each.document], checked=checked)
    sound = bool(marks) and not any(mark.endswith("(not found there)") for mark in marks)
    lines.say(claim=found.answer, sources=sorted({each.document for each in found.citations}), checked=sound)
    path = lines.output(order, "answer.md")
    path.write_text("\n".join([found.answer, "", "Sources", "", *marks]) + "\n", encoding="utf-8")
    return f"wrote {path}, {len(marks)} quotations"


lines.drive(work)
