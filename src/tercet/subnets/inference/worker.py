"""The process that holds one model: `python -m tercet.subnets.inference.worker`, started by `serve.py`.

Reads one JSON line of settings on stdin (the key is in it, so that it is in no process list), prints one JSON line
with its address, and lives until stdin closes: it cannot outlive its parent, not even after kill -9.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Serve until stdin ends."""
    settings = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the native code prints is noise
    try:
        server = _start(settings)
        reply = {"url": server.listening_address}
    except Exception as error:  # noqa: BLE001  whatever it is, the parent tells it
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), file=answers, flush=True)
    if "url" in reply:
        sys.stdin.read()
    os._exit(0)  # native threads would take their time


def _start(settings: dict[str, Any]) -> Any:
    import xllamacpp  # noqa: PLC0415  an extra, and only this process may load it

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.n_ctx = settings["context"] * settings["slots"]
    params.n_parallel = settings["slots"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.api_keys = [settings["key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_threads_http = settings["slots"] + 2
    params.verbosity = 0
    params.ui = False
    params.endpoint_slots = False
    params.cache_ram_mib = 0  # its default keeps up to 8 GiB of old prompts
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
