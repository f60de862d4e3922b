"""Tools by the Model Context Protocol (MCP): those of other people's servers for our agents, and ours for their programs."""

from __future__ import annotations

from tercet.swarm.mcp.market import GatewayDoor, build_server
from tercet.swarm.mcp.tools import Address, Tool, Tools, as_toolset, grant, list_tools, open_tools

__all__ = ["Address", "GatewayDoor", "Tool", "Tools", "as_toolset", "build_server", "grant", "list_tools", "open_tools"]
