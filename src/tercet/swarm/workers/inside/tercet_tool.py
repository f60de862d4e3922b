"""The granted tools on the command line inside a sandbox, for agents that speak no MCP. Imports nothing of ours.

python3 /tercet/tercet_tool.py                         the tools there are, with the schemas of their arguments
python3 /tercet/tercet_tool.py NAME '{"text": "x"}'    uses one; prints what it says, exit code 1 where it refused or failed
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from typing import Any

SOCKETS = ("/talk/tools.sock", "/talk/face.sock")


class Door(http.client.HTTPConnection):
    """HTTP over the unix socket that was lent."""

    def connect(self) -> None:
        """Connect to the first that is there."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(next(path for path in SOCKETS if os.path.exists(path)))


def ask(method: str, **params: Any) -> dict[str, Any]:
    """One message there and back; its result."""
    door = Door("127.0.0.1")
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    door.request("POST", "/mcp", body, {"Content-Type": "application/json"})
    told: dict[str, Any] = json.loads(door.getresponse().read())
    if "error" in told:
        raise LookupError(str(told["error"]["message"]))
    found: dict[str, Any] = told["result"]
    return found


def use(name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
    """What a tool says, and whether it refused or failed."""
    said = ask("tools/call", name=name, arguments=arguments)
    return "\n".join(part.get("text", "") for part in said["content"]), bool(said["isError"])


def say(text: str) -> None:
    """A line, or some."""
    sys.stdout.write(f"{text}\n")


def main() -> int:
    """List, or use one."""
    name, *rest = sys.argv[1:] or [""]
    if not name:
        for tool in ask("tools/list")["tools"]:
            say(f"{tool['name']}: {tool['description']}\n  arguments: {json.dumps(tool['inputSchema'])}")
        return 0
    try:
        arguments = json.loads(rest[0]) if rest else {}
    except ValueError as error:
        sys.exit(f"The arguments are no JSON: {error}")
    try:
        text, failed = use(name, arguments)
    except LookupError as error:
        sys.exit(error.args[0])
    say(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
