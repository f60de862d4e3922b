"""A ledger in memory: py-evm's Prague rules, our artifacts, and nothing in between.

Gas is what a transaction costs on a chain: intrinsic gas, cold storage and capped refunds included.
Senders need no keys and pay no fees; time moves only when a test moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from eth.constants import BLANK_ROOT_HASH, CREATE_CONTRACT_ADDRESS
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.berlin.transactions import calculate_txn_intrinsic_gas_berlin
from eth.vm.forks.prague.state import PragueState
from eth_abi.abi import decode, encode
from eth_utils import keccak, to_checksum_address
from tests.chain.contracts.sources import compile_source

from tercet.chain.artifacts import Artifact, ContractName, load_artifact
from tercet.chain.devnet.interpreter import FastComputation

CHAIN_ID = 31_337
TRANSACTION_GAS = 2**24
"""EIP-7825's cap on one transaction, which current chains enforce."""


class Reverted(Exception):  # noqa: N818 - reads well in `with raises(Reverted)`
    """A transaction failed; the text is the contract's reason."""


@dataclass(frozen=True, slots=True)
class Log:
    """One decoded event."""

    address: str
    name: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a transaction did."""

    value: Any
    gas: int
    logs: list[Log]


@dataclass(frozen=True, slots=True)
class _Transaction:
    """The attributes of a transaction that py-evm's executor reads."""

    sender: bytes
    to: bytes
    data: bytes
    nonce: int
    gas: int
    value: int = 0
    gas_price: int = 0
    max_fee_per_gas: int = 0
    max_priority_fee_per_gas: int = 0
    access_list: Sequence[Any] = ()
    type_id: int = 2

    @property
    def intrinsic_gas(self) -> int:
        return int(calculate_txn_intrinsic_gas_berlin(self))

    @property
    def max_fee_per_blob_gas(self) -> int:
        return 0

    @property
    def blob_versioned_hashes(self) -> tuple[bytes, ...]:
        return ()


class State(PragueState):  # type: ignore[misc]  # py-evm is untyped for us
    """py-evm's state, run by the embedded chain's loop."""

    computation_class = FastComputation


class Ledger:
    """The chain: accounts, contracts and a clock."""

    def __init__(self, chain_id: int = CHAIN_ID) -> None:
        self.chain_id = chain_id
        self.now = 1_800_000_000
        """Unix seconds of the next block."""
        self._disk = AtomicDB()
        self._load(BLANK_ROOT_HASH)
        self._names = count(1)
        self._contracts: dict[bytes, Contract] = {}

    def account(self, role: str = "someone") -> str:
        """A new address that has nothing."""
        return str(to_checksum_address(keccak(text=f"{role} {next(self._names)}")[-20:]))

    def deploy(self, name: ContractName, *arguments: Any, sender: str | None = None) -> Contract:
        """Deploy one of our contracts."""
        return self._deploy(load_artifact(name), arguments, sender)

    def deploy_source(self, name: str, *arguments: Any, sender: str | None = None) -> Contract:
        """Compile and deploy a contract of this folder, one that only tests need."""
        return self._deploy(compile_source(name), arguments, sender)

    def deploy_blueprint(self, name: ContractName) -> str:
        """Deploy a contract's ERC-5202 blueprint."""
        blueprint = load_artifact(name).blueprint
        assert blueprint is not None
        return self._create(blueprint, None)

    def deploy_code(self, code: bytes) -> str:
        """Put runtime code at a new address, without a constructor."""
        address = self.account("code")
        self._db.set_code(bytes.fromhex(address[2:]), code)
        return address

    def set_code(self, address: str, code: bytes) -> None:
        """Change what stands at an address, as EIP-7702 lets a key do at its own."""
        self._db.set_code(bytes.fromhex(address[2:]), code)

    def attach(self, name: ContractName, address: str) -> Contract:
        """Speak to a contract that is there already."""
        return self._attach(load_artifact(name), address)

    def snapshot(self) -> tuple[bytes, int]:
        """A point to come back to, as often as one likes."""
        self._db.persist()
        return self._db.state_root, self.now

    def restore(self, snapshot: tuple[bytes, int]) -> None:
        """Undo everything since the snapshot."""
        root, self.now = snapshot
        self._load(root)

    def _load(self, root: bytes) -> None:
        self._state = State(self._disk, self._context(), root)
        self._db = self._state._account_db

    def run(self, sender: str, to: bytes, data: bytes, *, keep: bool = True) -> tuple[Any, int]:
        """Run one transaction; returns py-evm's computation and the gas used.

        Raises:
            Reverted: it failed.
        """
        account = bytes.fromhex(sender[2:])
        self._db.set_balance(account, 10**24)
        transaction = _Transaction(
            sender=account, to=to, data=data, nonce=self._db.get_nonce(account), gas=TRANSACTION_GAS if keep else 2**32
        )
        mark = None if keep else self._db.record()
        self._state.execution_context = self._context()
        executor = self._state.get_transaction_executor()
        computation = executor.build_computation(executor.build_evm_message(transaction), transaction)
        executor.finalize_computation(transaction, computation)
        self._state.clear_transient_storage()
        if mark is None:
            self._db.lock_changes()
        else:
            self._db.discard(mark)
        if computation.is_error:
            raise Reverted(_reason(computation))
        spent = transaction.gas - computation.get_gas_remaining()
        refund = min(computation.get_gas_refund(), spent // 5)
        return computation, spent - refund + computation.data_floor_gas

    def read_logs(self, computation: Any) -> list[Log]:
        """The events of a transaction, decoded with the ABIs of the contracts we know."""
        logs = []
        for address, topics, data in computation.get_log_entries():
            contract = self._contracts.get(address)
            if contract is not None:
                logs.append(contract.decode_log(topics, data))
        return logs

    def _deploy(self, artifact: Artifact, arguments: Sequence[Any], sender: str | None) -> Contract:
        types = next((_types(entry["inputs"]) for entry in artifact.abi if entry["type"] == "constructor"), [])
        return self._attach(artifact, self._create(artifact.bytecode + encode(types, arguments), sender))

    def _attach(self, artifact: Artifact, address: str) -> Contract:
        contract = Contract(self, artifact, address)
        self._contracts[bytes.fromhex(address[2:])] = contract
        return contract

    def _create(self, code: bytes, sender: str | None) -> str:
        computation, _ = self.run(sender or self.account("deployer"), CREATE_CONTRACT_ADDRESS, code)
        return str(to_checksum_address(computation.msg.storage_address))

    def _context(self) -> ExecutionContext:
        return ExecutionContext(
            coinbase=bytes(20),
            timestamp=self.now,
            block_number=1,
            difficulty=0,
            mix_hash=bytes(32),
            gas_limit=2**40,
            prev_hashes=(),
            chain_id=self.chain_id,
            base_fee_per_gas=0,
            excess_blob_gas=0,
        )


class Contract:
    """One deployed contract: `call` reads, `send` writes."""

    def __init__(self, ledger: Ledger, artifact: Artifact, address: str) -> None:
        self.ledger = ledger
        self.address = address
        self._functions = {entry["name"]: entry for entry in artifact.abi if entry["type"] == "function"}
        self._events = {keccak(text=_signature(entry)): entry for entry in artifact.abi if entry["type"] == "event"}

    def call(self, name: str, *arguments: Any, sender: str = "0x" + "00" * 19 + "01") -> Any:
        """The result of a call that changes nothing."""
        computation, _ = self.ledger.run(sender, self._raw, self.encode(name, *arguments), keep=False)
        return self._decode(name, computation.output)

    def send(self, sender: str, name: str, *arguments: Any) -> Receipt:
        """Run a transaction."""
        computation, gas = self.ledger.run(sender, self._raw, self.encode(name, *arguments))
        return Receipt(self._decode(name, computation.output), gas, self.ledger.read_logs(computation))

    def encode(self, name: str, *arguments: Any) -> bytes:
        """A call's data."""
        entry = self._functions[name]
        return bytes(keccak(text=_signature(entry))[:4] + encode(_types(entry["inputs"]), arguments))

    def decode_log(self, topics: Sequence[int], data: bytes) -> Log:
        """An event's name and fields."""
        entry = self._events[topics[0].to_bytes(32, "big")]
        indexed = [item for item in entry["inputs"] if item["indexed"]]
        plain = [item for item in entry["inputs"] if not item["indexed"]]
        fields = {
            item["name"]: decode([_type(item)], topic.to_bytes(32, "big"))[0]
            for item, topic in zip(indexed, topics[1:], strict=True)
        }
        fields.update(zip([item["name"] for item in plain], decode(_types(plain), data), strict=True))
        return Log(self.address, entry["name"], fields)

    @property
    def _raw(self) -> bytes:
        return bytes.fromhex(self.address[2:])

    def _decode(self, name: str, output: bytes) -> Any:
        outputs = self._functions[name]["outputs"]
        values = [_name(item, value) for item, value in zip(outputs, decode(_types(outputs), output), strict=True)]
        return None if not values else values[0] if len(values) == 1 else tuple(values)


def _name(item: dict[str, Any], value: Any) -> Any:
    """Structs as dictionaries, also in lists."""
    if item["type"] == "tuple[]" or item["type"].startswith("tuple["):
        return [_name({**item, "type": "tuple"}, part) for part in value]
    if item["type"] == "tuple":
        parts = zip(item["components"], value, strict=True)
        return {part["name"]: _name(part, inner) for part, inner in parts}
    return value


def _type(item: dict[str, Any]) -> str:
    kind: str = item["type"]
    if kind.startswith("tuple"):
        return f"({','.join(_types(item['components']))}){kind.removeprefix('tuple')}"
    return kind


def _types(items: Sequence[dict[str, Any]]) -> list[str]:
    return [_type(item) for item in items]


def _signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(_types(entry['inputs']))})"


def _reason(computation: Any) -> str:
    output = bytes(computation.output)
    if output[:4] == keccak(text="Error(string)")[:4]:
        return str(decode(["string"], output[4:])[0])
    return f"{type(computation.error).__name__}: {output.hex()}"
