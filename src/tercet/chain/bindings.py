"""What all contract clients share: an address, an ABI, one call to read and one to write."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from tercet.chain.abi import Interface, decode, decode_event, encode, parse_interface
from tercet.chain.artifacts import ContractName, load_artifact
from tercet.chain.keys import checksum_address, parse_address
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender
from tercet.errors import DeploymentError


@cache
def load_interface(name: ContractName) -> Interface:
    """A contract's parsed ABI, read once."""
    return parse_interface(load_artifact(name).abi)


class BoundContract:
    """A contract of ours at an address. Writing methods take who sends; they return when it is mined."""

    def __init__(self, rpc: Rpc, name: ContractName, address: str) -> None:
        self.rpc, self.name = rpc, name
        self.address = checksum_address(parse_address(address))
        self.interface = load_interface(name)

    def encode_call(self, function: str, *arguments: Any) -> bytes:
        """Call data, for those who send it by other means."""
        found = self.interface.functions[function]
        return found.selector + encode(found.inputs, arguments)

    async def read(self, function: str, *arguments: Any, sender: str | None = None) -> Any:
        """A view's result; a tuple where there are several."""
        data = await self.rpc.view(self.address, self.encode_call(function, *arguments), sender=sender)
        if not data:
            raise DeploymentError(
                f"There is no {self.name} at {self.address} on the chain at {self.rpc.url}. "
                "Use the deployment file of this chain, or deploy with: tercet chain start"
            )
        values = decode(self.interface.functions[function].outputs, data)
        return values[0] if len(values) == 1 else values

    async def write(self, sender: Sender, function: str, *arguments: Any, gas: int | None = None) -> Receipt:
        """Send a transaction and wait for it; raises as `Sender.send` does."""
        return await sender.send(self.address, self.encode_call(function, *arguments), gas=gas)

    def find_event(self, receipt: Receipt, event: str) -> Mapping[str, Any]:
        """The fields of the first such event that this contract logged in a transaction."""
        for log in receipt.logs:
            kind = self.interface.events.get(log.topics[0]) if log.topics else None
            if log.address == self.address and kind is not None and kind.name == event:
                return decode_event(kind, log.topics, log.data)
        raise DeploymentError(f"{self.name} at {self.address} logged no {event}. Is it our contract?")
