"""A run whose agent asks the person and writes what it was told, as its own process: `asking_run.py FOLDER`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.swarm.small_goals import CREDIT, Yes, use_tool

from tercet.swarm.gateway import Call, Completion, ScriptedUpstream
from tercet.swarm.kernel import Kernel, RunConfig

QUESTION = "Which licence?"
OPTIONS = ["MIT", "Apache-2.0"]


async def main(folder: Path) -> str:
    """Run it, or go on with it; how it ended."""

    def answer(call: Call) -> Completion | Mapping[str, Any]:
        if call.schema is not None:  # a lead is asked first
            return {"known": False, "answer": ""}
        told = [str(message["content"]) for message in call.messages if message["role"] == "tool"]
        if not told:
            return use_tool(0, "ask_lead", {"question": QUESTION, "options": OPTIONS})
        if len(told) == 1:
            return use_tool(1, "write_file", {"path": "LICENSE", "text": told[0]})
        return Completion(text="Done.")

    plan = folder.parent / "plan.json"
    task = {
        "id": "a", "title": "Write the licence", "role": "assistant", "outputs": ["LICENSE"],
        "budget": 1000, "done": {"command": ["test", "-s", "LICENSE"]},
    }  # fmt: skip
    plan.write_text(json.dumps({"goal": "license it", "tasks": [task]}))
    config = RunConfig("license it", CREDIT, plan=str(plan), gateway="scripted")
    return (await Kernel(folder, config, ScriptedUpstream(answer), Yes()).run()).status


if __name__ == "__main__":
    print(asyncio.run(main(Path(sys.argv[1]))), flush=True)
