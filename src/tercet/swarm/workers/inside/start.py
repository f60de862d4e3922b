"""Starts a driver inside the sandbox. Imports nothing of ours.

The driver speaks JSON lines on standard input and output, which this joins to the socket of whoever started it. It
thinks at http://127.0.0.1:8000/v1, which this joins to the run's gateway: inside there is no other network.

Arguments: a driver's path and the folder of its packages; or `--command`, that folder or an empty word, and any
command, which is started as it is. When the command has ended, the last that it wrote to stderr is written to ours.
"""

from __future__ import annotations

import json
import os
import runpy
import site
import socket
import sys
import threading
import traceback
from typing import NoReturn

LINES = "/talk/lines.sock"
FACE = "/talk/face.sock"
PORT = 8000
LAST_WORDS = 4096
"""Bytes of a command's stderr that are told in the end; more than the sandbox reads of a stream would end it."""


def main() -> None:
    """Join the sockets, run the driver, tell how it ended when it did not."""
    driver, packages, *words = sys.argv[1:]
    joined = socket.socket(socket.AF_UNIX)
    joined.connect(LINES)
    os.dup2(joined.fileno(), 0)
    os.dup2(joined.fileno(), 1)
    noise, told = os.open("/tmp/noise", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), os.dup(2)
    os.dup2(noise, 2)
    if driver == "--command":
        command(words, packages, joined, noise, told)
    if os.path.exists(FACE):
        serve_face()
    site.addsitedir(packages)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    sys.argv[1:] = words
    try:
        runpy.run_path(driver, run_name="__main__")
    except Exception as error:
        traceback.print_exc()
        joined.sendall(json.dumps({"end": type(error).__name__, "why": str(error)[:2000]}).encode() + b"\n")


def command(words: list[str], packages: str, joined: socket.socket, noise: int, told: int) -> NoReturn:
    """Run a command until it ends, and end as it did."""
    child = os.fork()
    if child == 0:
        try:
            become(words, packages)
        except OSError as error:
            os.write(2, f"{words[0]}: {error.strerror}\n".encode())
            os._exit(127)
    for descriptor in (0, 1, joined.fileno()):
        os.close(descriptor)  # the command's alone: they close with it
    _, status = os.waitpid(child, 0)
    os.write(told, os.pread(noise, LAST_WORDS, max(0, os.fstat(noise).st_size - LAST_WORDS)))
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def become(words: list[str], packages: str) -> NoReturn:
    """Run a command in this process's place; its Python is this one, with the packages."""
    if packages:
        os.environ["PYTHONPATH"] = packages
    if os.path.basename(words[0]) in {"python", "python3"}:
        os.execv(sys.executable, [sys.executable, "-s", *words[1:]])
    os.execvp(words[0], words)


def serve_face() -> None:
    """Carry bytes between a port in here and the gateway's socket."""
    listener = socket.create_server(("127.0.0.1", PORT), backlog=64)

    def accept() -> None:
        while True:
            near, _ = listener.accept()
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(FACE)
            except OSError:
                near.close()
                continue
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=carry, args=(one, other), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def carry(one: socket.socket, other: socket.socket) -> None:
    """Until one side ends."""
    try:
        while chunk := one.recv(1 << 16):
            other.sendall(chunk)
    except OSError:
        pass
    finally:
        for each in (one, other):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


if __name__ == "__main__":
    main()
