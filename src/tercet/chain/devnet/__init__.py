"""The embedded development chain: py-evm's EVM over a flat SQLite store, behind JSON-RPC.

One process, one sequencer, one block per transaction. Importing this package costs a second
(py-evm), so only the command that starts a chain does.
"""

from __future__ import annotations

from tercet.chain.devnet.chain import Chain, Settings
from tercet.chain.devnet.server import Server, serve

__all__ = ["Chain", "Server", "Settings", "serve"]
