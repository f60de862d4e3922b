# pragma version ==0.4.3
"""
@title The rules that a market is opened with
@license Apache-2.0
@author Tercet contributors
@notice The parameters and their bounds. They are fixed for a market's life:
        changing them behind a timelock is a later step.
"""


struct MarketParams:
    subnet: String[32]  # which mechanism judges here, e.g. "inference"
    mechanism_version: uint256  # version of that mechanism's rules
    commit_seconds: uint256  # length of the commit phase, 1..30 days
    reveal_seconds: uint256  # length of the reveal phase, 1..30 days
    activity_epochs: uint256  # epochs a silent validator still counts in the total, 0..1000
    kappa: uint256  # majority of the consensus over 10**18, above 0.5 and up to 1
    bond_alpha: uint256  # weight of the newest row in a bond over 10**18, 0.001..1
    validator_share_bps: uint256  # validators' part of the reward, 0..10000
    max_miners: uint256  # 1..255
    max_validators: uint256  # 1..64
    miner_deposit: uint256  # refundable, stake token base units, up to 2**112 - 1
    min_stake: uint256  # of a validator, stake token base units, 10**12 .. 10**26


_ONE: constant(uint256) = 10 ** 18
_MAX_PHASE: constant(uint256) = 30 * 24 * 3_600


@internal
@pure
def _require_valid(params: MarketParams):
    """
    @notice Reverts, naming the parameter, when one is out of its bounds.
    @param params The rules.
    """
    assert len(params.subnet) > 0, "registry: subnet is empty"
    assert (
        0 < params.commit_seconds and params.commit_seconds <= _MAX_PHASE
    ), "registry: commit_seconds out of bounds"
    assert (
        0 < params.reveal_seconds and params.reveal_seconds <= _MAX_PHASE
    ), "registry: reveal_seconds out of bounds"
    assert params.activity_epochs <= 1_000, "registry: activity_epochs out of bounds"
    assert _ONE // 2 < params.kappa and params.kappa <= _ONE, "registry: kappa out of bounds"
    assert (
        _ONE // 1_000 <= params.bond_alpha and params.bond_alpha <= _ONE
    ), "registry: bond_alpha out of bounds"
    assert params.validator_share_bps <= 10_000, "registry: validator_share_bps out of bounds"
    assert 0 < params.max_miners and params.max_miners <= 255, "registry: max_miners out of bounds"
    assert (
        0 < params.max_validators and params.max_validators <= 64
    ), "registry: max_validators out of bounds"
    assert params.miner_deposit < 2 ** 112, "registry: miner_deposit out of bounds"
    assert (
        10 ** 12 <= params.min_stake and params.min_stake <= 10 ** 26
    ), "registry: min_stake out of bounds"
