"""A chain in memory and in this process: our contracts on the embedded chain's EVM, without keys, fees, blocks or disk.

For experiments that play many epochs in seconds. The code that runs is the deployed bytecode, gas is what a
transaction costs on a chain, and time moves only when somebody moves it, so a run repeats exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth.constants import CREATE_CONTRACT_ADDRESS

from tercet.chain.abi import decode, decode_event, encode
from tercet.chain.artifacts import ContractName, load_artifact
from tercet.chain.bindings import load_interface
from tercet.chain.devnet.accounts import Accounts
from tercet.chain.devnet.evm import MAX_TRANSACTION_GAS, CallTransaction, Evm, Outcome, Slot
from tercet.chain.devnet.store import Store
from tercet.chain.keys import checksum_address, keccak, parse_address
from tercet.chain.logs import Event
from tercet.chain.reasons import decode_reason
from tercet.chain.reverts import build_revert

CHAIN_ID = 31_337
GENESIS = 1_800_000_000
"""Unix seconds at which the clock starts."""
_VIEW_GAS = 2**32
_READER = bytes(19) + b"\1"


@dataclass(frozen=True, slots=True)
class Result:
    """What a transaction did."""

    value: Any
    """What the function returned."""
    gas: int
    events: tuple[Event, ...]
    """Of all contracts that the sandbox knows, in order."""

    def find(self, name: str) -> Mapping[str, Any]:
        """The fields of the first event of this name."""
        return next(event.fields for event in self.events if event.name == name)


class Sandbox:
    """The chain: contracts, and a clock."""

    def __init__(self, chain_id: int = CHAIN_ID, now: int = GENESIS) -> None:
        self.chain_id, self.now, self.block = chain_id, now, 0
        self._store = Store(Path(":memory:"))
        self._evm = Evm(Accounts(self._store))
        self._contracts: dict[str, SandboxContract] = {}
        self.gas: Counter[str] = Counter()
        """Used so far, by who sent; refused transactions count."""

    def close(self) -> None:
        """Give the memory back."""
        self._store.close()

    def deploy(self, sender: str, name: ContractName, *arguments: Any) -> SandboxContract:
        """Deploy one of our contracts.

        Raises:
            RevertedError: its constructor refused.
        """
        code = load_artifact(name).bytecode + encode(load_interface(name).constructor, arguments)
        return self.attach(name, self._create(sender, code))

    def deploy_blueprint(self, sender: str, name: ContractName) -> str:
        """Deploy a contract's ERC-5202 blueprint; its address."""
        blueprint = load_artifact(name).blueprint
        assert blueprint is not None, name
        return self._create(sender, blueprint)

    def attach(self, name: ContractName, address: str) -> SandboxContract:
        """Speak to a contract that is there already; its events are decoded from now on."""
        contract = SandboxContract(self, name, address)
        self._contracts[contract.address] = contract
        return contract

    def transact(self, sender: str, to: str, data: bytes) -> tuple[bytes, int, tuple[Event, ...]]:
        """Run one transaction in a block of its own: its return data, gas and events.

        Raises:
            RevertedError: it failed. Its gas counts in `gas` all the same.
        """
        outcome = self._run(sender, parse_address(to), data)
        return outcome.output, outcome.gas_used, self._read_events(outcome)

    def view(self, to: str, data: bytes) -> bytes:
        """The answer of a call that changes nothing.

        Raises:
            RevertedError: it failed.
        """
        call = CallTransaction(_READER, parse_address(to), _VIEW_GAS, 0, 0, 0, data, ())
        outcome = self._evm.run(call, self._slot(), keep=False)
        if outcome.error is not None:
            raise build_revert(decode_reason(outcome.output))
        return outcome.output

    def _create(self, sender: str, code: bytes) -> str:
        outcome = self._run(sender, CREATE_CONTRACT_ADDRESS, code)
        assert outcome.created is not None
        return checksum_address(outcome.created)

    def _run(self, sender: str, to: bytes, data: bytes) -> Outcome:
        self.block += 1
        call = CallTransaction(parse_address(sender), to, MAX_TRANSACTION_GAS, 0, 0, 0, data, ())
        outcome = self._evm.run(call, self._slot())
        self.gas[sender] += outcome.gas_used
        if outcome.error is not None:
            raise build_revert(decode_reason(outcome.output))
        return outcome

    def _slot(self) -> Slot:
        mix = keccak(self.block.to_bytes(32, "big"))
        return Slot(self.block, self.now, 0, 2**40, mix, (), self.chain_id)

    def _read_events(self, outcome: Outcome) -> tuple[Event, ...]:
        found = []
        for position, (raw, topics, data) in enumerate(outcome.logs):
            contract = self._contracts.get(checksum_address(raw))
            words = [topic.to_bytes(32, "big") for topic in topics]
            if contract is None or words[0] not in contract.interface.events:
                continue
            kind = contract.interface.events[words[0]]
            fields = decode_event(kind, words, data)
            found.append(Event(kind.name, contract.address, fields, self.block, position, b""))
        return tuple(found)


class SandboxContract:
    """One contract: `read` asks, `write` sends."""

    def __init__(self, sandbox: Sandbox, name: ContractName, address: str) -> None:
        self.sandbox, self.name = sandbox, name
        self.address = checksum_address(parse_address(address))
        self.interface = load_interface(name)
        self._outputs = {e["name"]: e["outputs"] for e in load_artifact(name).abi if e["type"] == "function"}

    def read(self, function: str, *arguments: Any) -> Any:
        """A view's result: structs as dictionaries by field, several values as a tuple."""
        return self._decode(function, self.sandbox.view(self.address, self._encode(function, arguments)))

    def write(self, sender: str, function: str, *arguments: Any) -> Result:
        """Send a transaction.

        Raises:
            RevertedError: the contract refused, by its kind.
        """
        output, gas, events = self.sandbox.transact(sender, self.address, self._encode(function, arguments))
        return Result(self._decode(function, output), gas, events)

    def _encode(self, function: str, arguments: Sequence[Any]) -> bytes:
        found = self.interface.functions[function]
        return found.selector + encode(found.inputs, arguments)

    def _decode(self, function: str, output: bytes) -> Any:
        values = decode(self.interface.functions[function].outputs, output)
        named = tuple(_name(kind, value) for kind, value in zip(self._outputs[function], values, strict=True))
        return named[0] if len(named) == 1 else named or None


def _name(kind: Mapping[str, Any], value: Any) -> Any:
    """Structs as dictionaries, also in lists."""
    if not kind["type"].startswith("tuple"):
        return value
    if kind["type"].endswith("]"):
        return [_name({**kind, "type": kind["type"].rpartition("[")[0]}, part) for part in value]
    parts = zip(kind["components"], value, strict=True)
    return {part["name"]: _name(part, inner) for part, inner in parts}
