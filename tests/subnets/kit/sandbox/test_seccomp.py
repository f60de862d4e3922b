"""The filter, run on an interpreter of its language, for every machine whose numbers are known."""

from __future__ import annotations

import errno
import struct

import pytest

from tercet.subnets.kit.sandbox.seccomp import _ARCHITECTURES, _CALLS, _CLONE, _CLONE3, _SOCKET, build_filter

ALLOW, KILL = "allow", "kill"


def judge(machine: str, number: int, first: int = 0, architecture: int | None = None) -> str | int:
    """What the kernel would do: allow, kill, or an errno."""
    program = build_filter(machine)
    assert program
    token = _ARCHITECTURES[machine][1] if architecture is None else architecture
    data = struct.pack("<IIQ6Q", number, token, 0, first, 0, 0, 0, 0, 0)
    lines = [struct.unpack_from("=HBBI", program, place) for place in range(0, len(program), 8)]
    assert len(lines) < 4096
    place = value = 0
    while True:
        code, yes, no, constant = lines[place]
        place += 1
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, constant)
        elif code == 0x06:
            return ALLOW if constant == 0x7FFF0000 else KILL if constant == 0x80000000 else int(constant) & 0xFFFF
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}[code]
            place += yes if holds else no


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
def test_what_is_refused_and_what_is_not(machine: str, column: int) -> None:
    """Every listed call, namespaces by clone, and sockets that leave the network namespace; all else goes through."""
    refused = {numbers[column] for numbers in _CALLS.values()}
    special = {_CLONE[column], _CLONE3[column], _SOCKET[column]}
    assert len(refused) == len(_CALLS)
    assert not refused & special
    for number in range(500):
        if number not in special:
            assert judge(machine, number) == (errno.EPERM if number in refused else ALLOW), number
    assert judge(machine, _CLONE3[column]) == errno.ENOSYS
    assert judge(machine, _CLONE[column], 0x003D0F00) == ALLOW  # pthread_create
    assert judge(machine, _CLONE[column], 0x01200011) == ALLOW  # fork
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert judge(machine, _CLONE[column], 0x11 | 1 << bit) == errno.EPERM
    families = {family for family in range(50) if judge(machine, _SOCKET[column], family) == ALLOW}
    assert families == {1, 2, 10, 16}
    assert judge(machine, _SOCKET[column], 40) == errno.EAFNOSUPPORT  # vsock


def test_another_machines_calls_end_the_process() -> None:
    """32-bit calls have other numbers; those of the x32 table are refused."""
    assert judge("x86_64", 0, architecture=0x40000003) == KILL
    assert judge("x86_64", 0x40000000) == errno.EPERM
    assert judge("x86_64", 0xFFFFFFFF) == errno.EPERM


def test_unknown_machines_have_no_filter() -> None:
    """Sandbox.walls says so."""
    assert build_filter("riscv64") is None
