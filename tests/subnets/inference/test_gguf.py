"""Model files are strangers' bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gguf import GGUFReader

from tercet.errors import ModelError
from tercet.subnets.inference.gguf import drop_layers, read_head


@pytest.mark.model
def test_the_head_says_what_the_reference_reader_says(smol: Path) -> None:
    """Same tensors, same metadata, same end-of-turn token."""
    head, reference = read_head(smol), GGUFReader(smol)
    assert [tensor.name.decode() for tensor in head.tensors] == [tensor.name for tensor in reference.tensors]
    assert head.number("llama.block_count") == 30
    assert head.text("general.architecture") == "llama"
    assert head.number("tokenizer.ggml.eos_token_id") in head.control_tokens()
    assert head.data_start == reference.data_offset


@pytest.mark.model
def test_dropped_layers_are_gone_and_the_others_are_the_same(smol: Path, tmp_path: Path) -> None:
    """Layer 2 of the thin copy is layer 4 of the original, bit for bit."""
    thin = tmp_path / "thin.gguf"
    drop_layers(smol, thin, {2, 3})
    old = {tensor.name: tensor.data for tensor in GGUFReader(smol).tensors}
    new = {tensor.name: tensor.data for tensor in GGUFReader(thin).tensors}
    assert read_head(thin).number("llama.block_count") == 28
    assert len(old) - len(new) == 2 * 9
    assert (new["blk.2.ffn_up.weight"] == old["blk.4.ffn_up.weight"]).all()
    assert (new["output_norm.weight"] == old["output_norm.weight"]).all()


HOSTILE = {
    "empty": b"",
    "another format": b"PK\x03\x04" + bytes(100),
    "unknown version": b"GGUF" + struct.pack("<IQQ", 99, 0, 0),
    "absurd counts": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
    "endless key": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62),
    "endless array": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 1 << 50),
    "nested arrays": b"GGUF"
    + struct.pack("<IQQQ", 3, 0, 1, 1)
    + b"k"
    + struct.pack("<I", 9)
    + struct.pack("<IQ", 9, 1) * 99,
    "tensor past the end": b"GGUF"
    + struct.pack("<IQQQ", 3, 1, 0, 1)
    + b"t"
    + struct.pack("<IQIQ", 1, 8, 0, 1 << 40)
    + bytes(64),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_head_is_refused_with_the_path(content: bytes, tmp_path: Path) -> None:
    """No allocation by a stranger's number, no traceback."""
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"hostile\.gguf"):
        read_head(path)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    """What, why, how to mend."""
    with pytest.raises(ModelError, match="tercet model list"):
        read_head(tmp_path / "none.gguf")
