"""Why a call reverted, from the bytes it returned."""

from __future__ import annotations

_ERROR = bytes.fromhex("08c379a0")  # Error(string)
_PANIC = bytes.fromhex("4e487b71")  # Panic(uint256)


def decode_reason(data: bytes) -> str:
    """The text of Error(string), `panic 0x..` of Panic(uint256), hex of anything else; empty for no data."""
    if data[:4] == _ERROR and len(data) >= 68:
        length = int.from_bytes(data[36:68], "big")
        return data[68 : 68 + length].decode(errors="replace")
    if data[:4] == _PANIC and len(data) == 36:
        return f"panic {int.from_bytes(data[4:], 'big'):#x}"
    return "0x" + data.hex() if data else ""
