"""A deployment that was cut off goes on; what lies at its addresses is compared with what we ship."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tercet.chain import Deployment, Key, deploy
from tercet.chain.artifacts import load_artifact
from tercet.chain.ledger import Builder, DeployTerms
from tercet.chain.verify import compare_code, verify

from .conftest import Node


class CutOff(Exception):  # noqa: N818  # it is what happens, not an error of ours
    """The power went, the purse ran dry, the node fell silent."""


async def test_a_whole_deployment_passes(chain: Node) -> None:
    """Thirteen addresses of fourteen contracts' code, each as we ship it, each naming the others."""
    checks = await verify(chain.rpc, await deploy(chain.sender))
    assert [check for check in checks if not check.passed] == []
    assert len(checks) == len(Deployment.__slots__) - 2


async def test_what_is_not_ours_is_named(chain: Node) -> None:
    """Nothing there, other code, and our code that trusts somebody else's contracts."""
    ours, theirs = await deploy(chain.sender), await deploy(chain.sender)
    odd = replace(ours, jobs=Key.generate().address, escrow=ours.credit, fees=theirs.fees)
    checks = {check.contract: check for check in await verify(chain.rpc, odd)}
    assert (checks["jobs"].code, checks["escrow"].code, checks["fees"].code) == ("missing", "other", "ours")
    assert f"its registry is {theirs.registry}, not {ours.registry}" in checks["fees"].wrong
    assert checks["emission"].wrong == (f"its fees is {ours.fees}, not {theirs.fees}",)
    assert checks["token"].passed
    swapped = replace(ours, rules_blueprint=theirs.rules_blueprint)
    (registry,) = [check for check in await verify(chain.rpc, swapped) if not check.passed]
    assert (registry.contract, "it makes markets from" in registry.wrong[0]) == ("registry", True)


def test_one_byte_is_enough_to_be_another_contract() -> None:
    """In the code, behind it, or in a blueprint."""
    token, market = load_artifact("Token"), load_artifact("Market")
    start = token.bytecode.rfind(token.bytecode[-token.code_bytes :])
    code = token.bytecode[start:] + bytes(448)
    assert compare_code("Token", code) == "ours"
    assert compare_code("Token", code[:77] + bytes([code[77] ^ 1]) + code[78:]) == "other"
    assert compare_code("Token", code + b"\0") == "other"
    assert compare_code("Token", code[:100]) == "other"
    assert compare_code("Token", b"") == "missing"
    blueprint = bytes.fromhex("fe7100") + market.bytecode
    assert compare_code("Market", blueprint, blueprint=True) == "ours"
    assert compare_code("Market", blueprint + b"\0", blueprint=True) == "other"


@pytest.mark.parametrize("cut", [1, 8, 13])
async def test_a_deployment_that_was_cut_off_goes_on(chain: Node, cut: int) -> None:
    """What was paid for is not made again, and what comes out is whole."""
    sender = chain.sender
    left: dict[str, str] = {}

    def note(made: Mapping[str, str]) -> None:
        left.update(made)
        if len(made) == cut + 1:
            raise CutOff

    first = await chain.rpc.nonce(sender.address)
    with pytest.raises(CutOff):
        await Builder(sender, DeployTerms(), note=note).build()
    deployment = await Builder(chain.sender, DeployTerms(), left).build()
    assert all(check.passed for check in await verify(chain.rpc, deployment))
    assert await chain.rpc.nonce(sender.address) - first == 13 + 3
    assert deployment.block == int(left["block"])
