"""The one who types the docs: says who is in the way, and leaves nobody behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.docs.ports import tell_holder
from tests.docs.test_blocks import ROOT, Block, Reader


def test_who_holds_the_port_is_named(tmp_path: Path) -> None:
    """By process and command, with how to free it, in the first line."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        reader = Reader(tmp_path)
        try:
            with pytest.raises(pytest.fail.Exception) as failed:
                reader.follow(Block(1, "sh background", f"tercet chain start --port {port}\n"))
        finally:
            reader.close()
    first = str(failed.value).splitlines()[0]
    assert first.startswith(f"Port {port} is held by process {os.getpid()} (")
    assert first.endswith(f"Free it with: kill {os.getpid()}")
    assert "held by nobody any more" in tell_holder(port)


ABORTED = """
import sys, time
from pathlib import Path
from tests.docs.test_blocks import Block, Reader
reader = Reader(Path(sys.argv[1]))
reader.start(Block(1, "sh background", "python3 stay.py"))
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_aborted_test_leaves_nobody_behind(tmp_path: Path, how: signal.Signals) -> None:
    """Killed in the middle of a page: what stayed up goes too."""
    stays = "import os, time\nprint('\"ready\"', os.getpid(), flush=True)\ntime.sleep(600)\n"
    (tmp_path / "stay.py").write_text(stays)
    test = subprocess.Popen(
        [sys.executable, "-c", ABORTED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    assert test.stdout is not None
    assert test.stdout.readline() == "up\n"
    left = int((tmp_path / "background-1.log").read_text().split()[1])
    assert Path(f"/proc/{left}").exists()
    test.send_signal(how)
    test.wait(20)
    test.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{left}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{left}").exists()
