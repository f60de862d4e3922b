"""The fast loop and py-evm's own: the same end, gas, memory, stack, output, logs and storage for any program."""

from __future__ import annotations

from typing import Any

from eth.constants import BLANK_ROOT_HASH
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.forks.prague.state import PragueState
from eth.vm.message import Message
from eth.vm.transaction_context import BaseTransactionContext
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.chain.devnet.interpreter import FastComputation

HERE, SENDER = b"\x11" * 20, b"\x22" * 20
JUMPDEST, JUMP, JUMPI, PUSH2, PUSH32 = 0x5B, 0x56, 0x57, 0x61, 0x7F
CODES = [code for code in range(256) if code in PragueComputation.opcodes]
USUAL = [
    code for code in CODES if code < 0x1E or code == 0x20 or 0x30 <= code < 0x40 or 0x50 <= code <= 0xA4 or code >= 0xF0
]
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 31, 32, 33, 255, 256, 257, 2**16, 2**32, 2**64, 2**128, 2**255, 2**256 - 1]),
    st.integers(0, 600),
    st.integers(0, 2**256 - 1),
)
"""Pushed: small ones are places in memory and lengths, large ones break sums."""


def build_context() -> ExecutionContext:
    return ExecutionContext(
        coinbase=bytes(20),
        timestamp=1_800_000_000,
        block_number=1,
        difficulty=0,
        mix_hash=bytes(32),
        gas_limit=2**40,
        prev_hashes=(),
        chain_id=31_337,
        base_fee_per_gas=0,
        excess_blob_gas=0,
    )


def run(kind: Any, code: bytes, data: bytes, gas: int) -> dict[str, Any]:
    """All that a program leaves behind."""

    class State(PragueState):  # type: ignore[misc]  # py-evm is untyped for us
        computation_class = kind

    state = State(AtomicDB(), build_context(), BLANK_ROOT_HASH)
    state.set_balance(HERE, 10**18)
    state.set_code(HERE, code)
    message = Message(gas=gas, to=HERE, sender=SENDER, value=0, data=data, code=code)
    done = kind.apply_message(state, message, BaseTransactionContext(gas_price=1, origin=SENDER))
    state.persist()
    return {
        "error": type(done.error).__name__.replace("InvalidInstruction", "InvalidJumpDestination")
        if done.is_error
        else None,
        "gas": done.get_gas_remaining(),
        "refund": done.get_gas_refund(),
        "output": bytes(done.output),
        "logs": done.get_log_entries(),
        "memory": bytes(done._memory._bytes) if done.is_success else None,
        "stack": [_int(value) for value in done._stack.values] if done.is_success else None,
        "state": state.state_root,
    }


def _int(value: int | bytes) -> int:
    return value if isinstance(value, int) else int.from_bytes(value, "big")


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """Any opcode, with numbers before it, and jumps to places that exist."""
    parts: list[bytes] = []
    jumps: list[int] = []
    for kind in draw(st.lists(st.sampled_from("nnnnnnnoooojl"), max_size=60)):
        if kind == "n":
            number = draw(NUMBERS)
            width = max(1, -(-number.bit_length() // 8))
            parts.append(bytes([0x5F + width]) + number.to_bytes(width, "big"))
        elif kind == "o":
            parts.append(bytes([draw(st.sampled_from(USUAL))]))
        elif kind == "l":
            parts.append(bytes([JUMPDEST]))
        else:
            jumps.append(len(parts))
            parts.append(bytes([PUSH2, 0, 0, draw(st.sampled_from([JUMP, JUMPI]))]))
    starts = [sum(len(part) for part in parts[:k]) for k in range(len(parts))]
    labels = [start for start, part in zip(starts, parts, strict=True) if part == bytes([JUMPDEST])] or [0]
    for k in jumps:
        parts[k] = bytes([PUSH2, *draw(st.sampled_from(labels)).to_bytes(2, "big"), parts[k][-1]])
    return b"".join(parts)


@given(programs(), st.binary(max_size=70), st.sampled_from([50, 3_000, 60_000]))
@settings(max_examples=400, deadline=None)
def test_a_program_ends_the_same_way(code: bytes, data: bytes, gas: int) -> None:
    """Loops end by their gas."""
    assert run(FastComputation, code, data, gas) == run(PragueComputation, code, data, gas)


@given(st.binary(max_size=80), st.sampled_from([50, 3_000, 60_000]))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_program_end_the_same_way(code: bytes, gas: int) -> None:
    """Cut pushes, unknown opcodes, empty stacks."""
    assert run(FastComputation, code, b"", gas) == run(PragueComputation, code, b"", gas)


def test_the_stack_has_an_end() -> None:
    """A thousand and twenty-four values and no more, pushed or doubled."""
    for more in (b"\x5f", b"\x80", b"\x30"):
        for count in (1_023, 1_024):
            code = b"\x5f" * count + more
            found = run(FastComputation, code, b"", 10**6)
            assert found == run(PragueComputation, code, b"", 10**6)
            assert found["error"] == (None if count < 1_024 else "FullStack")


def test_a_jump_into_a_push_is_refused() -> None:
    """Its byte only looks like a place to jump to."""
    into = bytes([0x60, 3, JUMP, 0x60, JUMPDEST, 0x00])
    assert run(FastComputation, bytes([0x60, 4, *into[2:]]), b"", 1_000)["error"] == "InvalidJumpDestination"
    assert run(FastComputation, into, b"", 1_000)["error"] == "InvalidJumpDestination"
