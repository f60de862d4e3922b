"""Running code fast: py-evm's rules, with the opcodes that make up nearly all of a program worked off in one loop.

py-evm pays a call, three checks and a conversion between bytes and integers for each opcode. Here arithmetic, jumps,
the stack and memory go by in one loop over integers; everything that touches state, other contracts or logs, and all that
is rare, is handed to py-evm as before. Both give the same results, gas and errors: a test runs one beside the other.

Gas: Yellow Paper, appendix G, with the prices of py-evm's own table. Memory: appendix H, C_mem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from eth.exceptions import FullStack, InsufficientStack, InvalidJumpDestination, OutOfGas
from eth.vm import opcode_values as op
from eth.vm.code_stream import CodeStream
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.memory import Memory

_MOST = 2**256 - 1
_STACK_LIMIT = 1_024
_WORD = 32
_PADDING = bytes(_WORD + 1)
"""Behind the code: a PUSH may read past its end, and what runs off it stops."""

_BINARY: dict[int, Callable[[int, int], int]] = {
    op.ADD: lambda a, b: (a + b) & _MOST,
    op.MUL: lambda a, b: (a * b) & _MOST,
    op.SUB: lambda a, b: (a - b) & _MOST,
    op.DIV: lambda a, b: a // b if b else 0,
    op.MOD: lambda a, b: a % b if b else 0,
    op.LT: lambda a, b: 1 if a < b else 0,
    op.GT: lambda a, b: 1 if a > b else 0,
    op.EQ: lambda a, b: 1 if a == b else 0,
    op.AND: lambda a, b: a & b,
    op.OR: lambda a, b: a | b,
    op.XOR: lambda a, b: a ^ b,
    op.SHL: lambda a, b: (b << a) & _MOST if a < 256 else 0,
    op.SHR: lambda a, b: b >> a if a < 256 else 0,
}
_OTHERS = {op.POP, op.JUMP, op.JUMPI, op.JUMPDEST, op.MLOAD, op.MSTORE, op.ISZERO, op.NOT}
_HERE = {*_BINARY, *_OTHERS, *range(op.PUSH0, op.SWAP16 + 1)}
"""What this loop does itself."""
_FUNCTIONS = [_BINARY.get(code) for code in range(256)]
_COSTS = [PragueComputation.opcodes[code].gas_cost if code in _HERE else 0 for code in range(256)]
"""What py-evm does is also charged there."""


@dataclass(frozen=True, slots=True)
class _Program:
    """Code, read once."""

    code: bytes
    pushed: list[int]
    """By place of a PUSH: what it pushes."""
    targets: frozenset[int]
    """Places that may be jumped to."""


@lru_cache(maxsize=256)
def _read(code: bytes) -> _Program:
    pushed = [0] * len(code)
    targets = set()
    place = 0
    while place < len(code):
        width = code[place] - op.PUSH0 if op.PUSH0 <= code[place] <= op.PUSH32 else 0
        pushed[place] = int.from_bytes(code[place + 1 : place + 1 + width].ljust(width, b"\0"), "big")
        if code[place] == op.JUMPDEST:
            targets.add(place)
        place += 1 + width
    return _Program(code + _PADDING, pushed, frozenset(targets))


class _Memory(Memory):  # type: ignore[misc]  # py-evm is untyped for us
    """Memory whose bytes can be reached."""

    @property
    def data(self) -> bytearray:
        """The bytes; others after an `extend`."""
        content: bytearray = self._bytes
        return content


class _Code(CodeStream):  # type: ignore[misc]  # py-evm is untyped for us
    """A program under way. Iterating runs it, and yields what py-evm has to do."""

    def __init__(self, code: bytes, stack: Any, memory: _Memory, meter: Any) -> None:
        super().__init__(code)
        self._values, self._memory, self._meter = stack.values, memory, meter

    def __iter__(self) -> Iterator[int]:
        try:
            yield from self._run()
        except IndexError as error:  # of the list that is the stack; py-evm's own opcodes run outside of this frame
            raise InsufficientStack("too few values on the stack") from error

    def _run(self) -> Iterator[int]:
        # One loop and no functions: a call costs more than what most opcodes do.
        program = _read(self._raw_code_bytes)
        code, pushed, targets = program.code, program.pushed, program.targets
        functions, costs = _FUNCTIONS, _COSTS
        values, memory, meter = self._values, self._memory, self._meter
        push, pop = values.append, values.pop
        data = memory.data
        gas: int = meter.gas_remaining
        place = 0
        while True:
            code_here = code[place]
            place += 1
            gas -= costs[code_here]
            if gas < 0:
                raise OutOfGas("out of gas")
            function = functions[code_here]
            if function is not None:
                first = pop()
                values[-1] = function(first, values[-1])
            elif 0x5F <= code_here <= 0x7F:  # PUSH
                if len(values) >= _STACK_LIMIT:
                    raise FullStack("stack limit reached")
                push(pushed[place - 1])
                place += code_here - 0x5F
            elif 0x80 <= code_here <= 0x8F:  # DUP
                if len(values) >= _STACK_LIMIT:
                    raise FullStack("stack limit reached")
                push(values[0x7F - code_here])
            elif 0x90 <= code_here <= 0x9F:  # SWAP
                other = 0x8E - code_here
                values[-1], values[other] = values[other], values[-1]
            elif code_here == 0x5B:  # JUMPDEST
                pass
            elif code_here == 0x57:  # JUMPI
                target = pop()
                if pop():
                    if target not in targets:
                        raise InvalidJumpDestination("no place to jump to")
                    place = target
            elif code_here == 0x56:  # JUMP
                place = pop()
                if place not in targets:
                    raise InvalidJumpDestination("no place to jump to")
            elif code_here == 0x50:  # POP
                pop()
            elif code_here == 0x15:  # ISZERO
                values[-1] = 0 if values[-1] else 1
            elif code_here == 0x19:  # NOT
                values[-1] = values[-1] ^ _MOST
            elif code_here in (0x51, 0x52):  # MLOAD, MSTORE
                start = pop()
                word = pop().to_bytes(_WORD, "big") if code_here == 0x52 else b""
                end = start + _WORD
                if end > len(data):
                    gas -= _price_of_growth(len(data), end)
                    if gas < 0:
                        raise OutOfGas("out of gas for memory")
                    memory.extend(start, _WORD)
                    data = memory.data
                if word:
                    data[start:end] = word
                else:
                    push(int.from_bytes(data[start:end], "big"))
            else:
                self.program_counter, meter.gas_remaining = place, gas
                yield code_here
                place, gas, data = self.program_counter, meter.gas_remaining, memory.data
                if values and type(values[-1]) is not int:  # an opcode pushes one value at most
                    values[-1] = int.from_bytes(values[-1], "big")


def _price_of_growth(before: int, end: int) -> int:
    """Gas for memory of so many bytes (whole words) to reach `end`."""
    old, new = before // _WORD, -(-end // _WORD)
    return 3 * (new - old) + new * new // 512 - old * old // 512


class FastComputation(PragueComputation):  # type: ignore[misc]  # py-evm is untyped for us
    """PragueComputation that runs its program in the loop above."""

    def __init__(self, state: Any, message: Any, transaction_context: Any) -> None:
        super().__init__(state, message, transaction_context)
        self._memory = _Memory()
        self.code = _Code(message.code, self._stack, self._memory, self._gas_meter)
