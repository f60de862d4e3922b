"""The plugin as roles see it: options, limits, challenges like purchases."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tercet.errors import ModelError, SubnetError, UsageError
from tercet.subnets import Mechanism, load_mechanism
from tercet.subnets.inference import Inference, load_prompts
from tercet.subnets.inference.rogues import served_by_liar
from tercet.subnets.inference.tasks import parse_task


def beacon(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def test_it_is_found_by_name_with_its_options() -> None:
    """As the command line does."""
    mechanism = load_mechanism("inference", model="smol", behaviour="liar")
    assert isinstance(mechanism, Mechanism)
    assert mechanism.name == "inference"


def test_an_unknown_behaviour_answers_with_the_known_ones() -> None:
    """Before anything is loaded."""
    wrong: Any = "kind"
    with pytest.raises(UsageError, match="honest, liar, cacher, replayer"):
        Inference(behaviour=wrong)


def test_a_challenge_follows_from_its_beacon() -> None:
    """The same beacon, the same task; others, others; each well-formed and within its own limit."""
    mechanism = Inference("smol")
    assert mechanism.challenge(beacon(1)) == mechanism.challenge(beacon(1))
    tasks = [mechanism.challenge(beacon(number)) for number in range(200)]
    assert len({task["messages"][-1]["content"] for task in tasks}) > 90
    assert len({task["seed"] for task in tasks}) == 200
    for task in tasks:
        parse_task(task)
        assert mechanism.limit(task).completion == task["max_tokens"]


def test_embeddings_are_asked_for_as_often_as_wanted() -> None:
    """A share of one half is about half."""
    mechanism = Inference("smol", embeddings=0.5)
    kinds = [mechanism.challenge(beacon(number))["kind"] for number in range(200)]
    assert 70 < kinds.count("embed") < 130
    assert "embed" not in {Inference("smol").challenge(beacon(number))["kind"] for number in range(50)}


def test_there_are_many_different_prompts() -> None:
    """About 150, short, none twice."""
    prompts = load_prompts()
    assert len(prompts) >= 150
    assert len(set(prompts)) == len(prompts)
    assert max(map(len, prompts)) < 120


async def test_a_gateway_needs_no_model(tmp_path: Path) -> None:
    """Opening costs nothing; limits and prices are known."""
    mechanism = Inference("large", models_dir=tmp_path)
    await mechanism.open("gateway")
    assert mechanism.limit(mechanism.challenge(beacon(1))).prompt > 0
    assert mechanism.price().completion_per_1k > 0
    await mechanism.close()
    assert os.listdir(tmp_path) == []  # noqa: PTH208  not worth a thread


async def test_a_role_without_its_model_and_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening fails, nothing is left running."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    mechanism = Inference("smol", models_dir=tmp_path)
    with pytest.raises(ModelError, match="GGUF file that you have"):
        await mechanism.open("miner")
    with pytest.raises(SubnetError, match="not open"):
        await anext(mechanism.answer(mechanism.challenge(beacon(1))))


def test_a_liar_needs_something_to_lie_about(tmp_path: Path) -> None:
    """A model of one's own has no known smaller copy."""
    with pytest.raises(UsageError, match="smol, small or large"):
        served_by_liar("my.gguf", tmp_path)


@pytest.mark.model
async def test_a_miner_serves_any_gguf_file(smol: Path) -> None:
    """By its path; the promised name is the file's."""
    miner = Inference(str(smol), context=512)
    await miner.open("miner")
    await miner.open("miner")
    try:
        task = {"kind": "chat", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        pieces = [piece async for piece in miner.answer(task)]
    finally:
        await miner.close()
    assert pieces[-1]["model"] == smol.name


@pytest.mark.model
async def test_a_buyer_that_leaves_frees_the_seat(smol: Path) -> None:
    """Two seats, five abandoned answers: the next one is still answered."""
    miner = Inference("smol", context=512)
    await miner.open("miner")
    try:
        task = {"kind": "chat", "messages": [{"role": "user", "content": "Tell a story."}], "max_tokens": 30}
        for _ in range(5):
            answer = miner.answer(task)
            await anext(answer)
            await answer.aclose()  # type: ignore[attr-defined]
        assert len([piece async for piece in miner.answer({**task, "max_tokens": 3})]) == 4
    finally:
        await miner.close()
