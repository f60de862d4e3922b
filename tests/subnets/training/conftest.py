"""A text, and the smallest model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tercet.subnets.training.data import Corpus
from tercet.subnets.training.setting import Setting, build_setting
from tercet.subnets.training.tasks import Rules

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The help topics that come with the interpreter: half a megabyte of English."""
    from pydoc_data.topics import topics

    path = tmp_path_factory.mktemp("text") / "topics.txt"
    path.write_text("\n\n".join(topics[name] for name in sorted(topics)))
    return path


@pytest.fixture(scope="session")
def corpus(text: Path) -> Corpus:
    return Corpus.build(text.read_bytes())


@pytest.fixture
def rules(corpus: Corpus) -> Rules:
    return Rules("nano", corpus.digest, steps=6, batch=8)


@pytest.fixture
def setting(rules: Rules) -> Setting:
    return build_setting(rules)
