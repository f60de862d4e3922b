"""Runs PandasAI over the CSV files of the folder. Imports nothing of ours.

PandasAI executes what its model writes with a bare `exec`, in this very process: it is for the sandbox alone.
"""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pandasai
import tercet_lines as lines
from pandasai.llm.base import LLM

mpl.use("Agg")


class FaceModel(LLM):  # type: ignore[misc]  # not installed where mypy runs
    """The model behind the gateway's face."""

    def __init__(self, order: dict[str, Any]) -> None:
        super().__init__(api_key=order["key"])
        self._url, self._model = order["url"] + "/chat/completions", order["model"]

    @property
    def type(self) -> str:
        """Its name."""
        return "tercet"

    def call(self, instruction: Any, context: Any = None) -> str:
        """Answer a prompt."""
        memory = context.memory if context else None
        messages = [{"role": "user", "content": instruction.to_string()}]
        if memory and memory.agent_description:
            messages.insert(0, {"role": "system", "content": memory.agent_description})
        body = {"model": self._model, "messages": messages, "temperature": 0.0, "max_tokens": 1024}
        request = urllib.request.Request(
            self._url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])


def work(order: dict[str, Any]) -> str:
    """Ask it, and write the answer down."""
    tables = lines.files(order["inputs"], (".csv",))
    if not tables:
        raise FileNotFoundError("there is no CSV file to read")
    pandasai.config.set({"llm": FaceModel(order), "save_logs": False, "verbose": False, "max_retries": 2})
    frames = [pandasai.DataFrame(pd.read_csv(path)) for path in tables]
    lines.say(note=f"read {', '.join(map(str, tables))}")
    agent = pandasai.Agent(frames)
    found = agent.chat(order["task"], output_type=order["options"].get("type"))
    if getattr(found, "error", None):
        raise RuntimeError(str(found.error).strip().splitlines()[-1])
    path = write(found, order)
    lines.say(claim=f"{order['task'].splitlines()[0]} {str(found)[:500]}", sources=[str(each) for each in tables])
    return f"wrote {path}"


def write(found: Any, order: dict[str, Any]) -> Path:
    """Put an answer where the order wants it."""
    if found.type == "plot":
        path: Path = lines.output(order, "plot.png")
        found.save(str(path))
    elif found.type == "dataframe":
        path = lines.output(order, "answer.csv")
        pd.DataFrame(found.value).to_csv(path, index=False)
    else:
        path = lines.output(order, "answer.txt")
        path.write_text(f"{found.value}\n")
    for scratch in ("exports", "cache"):
        if scratch not in order["outputs"]:
            shutil.rmtree(scratch, ignore_errors=True)
    return path


lines.drive(work)
