"""Run mini-swe-agent in its own virtual environment, on a workbench that is elsewhere. Imports nothing of ours.

Standard input: one line {"task", "model", "url", "key", "steps", "seconds", "home"}, then one line {"output", "returncode", "problem"}
for each command. Standard output: lines {"command"}, and at the end {"end", "why"}. The agent's own process only thinks;
what it wants to run is run by whoever reads its lines.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main() -> None:
    """Think until the task is done."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    order = json.loads(sys.stdin.readline())

    def say(**what: str) -> None:
        lines.write(json.dumps(what) + "\n")
        lines.flush()

    try:
        end, why = _think(order, say)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told
        end, why = type(error).__name__, str(error)[:500]
    say(end=end, why=why)


def _think(order: dict[str, Any], say: Callable[..., None]) -> tuple[str, str]:
    """Run the agent; how it ended."""
    os.environ.update(
        {
            "HOME": order["home"],
            "MSWEA_GLOBAL_CONFIG_DIR": order["home"],
            "MSWEA_CONFIGURED": "true",
            "MSWEA_SILENT_STARTUP": "1",
            "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "2",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
    )
    import yaml  # noqa: PLC0415 - after the environment is set, and only in the agent's own process
    from minisweagent import package_dir  # noqa: PLC0415
    from minisweagent.agents.default import DefaultAgent  # noqa: PLC0415
    from minisweagent.exceptions import Submitted  # noqa: PLC0415
    from minisweagent.models.litellm_textbased_model import LitellmTextbasedModel  # noqa: PLC0415

    class Elsewhere:
        """The workbench at the other end of the lines."""

        config = SimpleNamespace()

        def execute(self, action: dict[str, Any], cwd: str = "", *, timeout: int | None = None) -> dict[str, Any]:  # noqa: ARG002
            """Have a command run."""
            say(command=action.get("command", ""))
            found = json.loads(sys.stdin.readline())
            first, _, rest = found["output"].lstrip().partition("\n")
            if first.strip() == "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT" and found["returncode"] == 0:
                extra = {"exit_status": "Submitted", "submission": rest}
                raise Submitted({"role": "exit", "content": rest, "extra": extra})
            return {
                "output": found["output"],
                "returncode": found["returncode"],
                "exception_info": found["problem"],
            }

        def get_template_vars(self, **more: Any) -> dict[str, Any]:
            """What the prompt may say of the machine."""
            return {"system": "Linux", "release": "", "version": "", "machine": "", **more}

        def serialize(self) -> dict[str, Any]:
            """For a trajectory, which is not kept."""
            return {"info": {}}

    config = yaml.safe_load(Path(package_dir, "config", "mini_textbased.yaml").read_text(encoding="utf-8"))
    model = LitellmTextbasedModel(
        model_name="openai/" + order["model"],
        cost_tracking="ignore_errors",
        observation_template=config["model"]["observation_template"],
        format_error_template=config["model"]["format_error_template"],
        model_kwargs={
            "api_base": order["url"],
            "api_key": order["key"] or "none",
            "temperature": 0.0,
            "drop_params": True,
            "num_retries": 0,
            "timeout": order["seconds"],  # the client's own 600 are too few for a large model on a small machine
            "max_tokens": 1024,
        },
    )
    agent = DefaultAgent(
        model,
        Elsewhere(),
        system_template=config["agent"]["system_template"],
        instance_template=config["agent"]["instance_template"],
        step_limit=order["steps"],
        cost_limit=0.0,
    )
    found = agent.run(order["task"])
    return found.get("exit_status", ""), ""


main()
