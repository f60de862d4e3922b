# pragma version ==0.4.3
"""
@title The rules of a market
@license Apache-2.0
@author Tercet contributors
@notice The parameters and their bounds. `Rules` holds those in force and changes them
        behind a timelock; the bounds never change.
"""


struct MarketParams:
    subnet: String[32]  # which mechanism judges here, e.g. "inference"; fixed for life
    mechanism_version: uint256  # version of that mechanism's rules; every reveal names it
    commit_seconds: uint256  # length of the commit phase, 1..30 days
    reveal_seconds: uint256  # length of the reveal phase, 1..30 days
    activity_epochs: uint256  # epochs a silent validator still counts in the total, 0..1000
    kappa: uint256  # majority of the consensus over 10**18, above 0.5 and up to 1
    bond_alpha: uint256  # weight of the newest row in a bond over 10**18, 0.001..1
    validator_share_bps: uint256  # validators' part of the reward, 0..10000
    max_miners: uint256  # 1..255
    max_validators: uint256  # permits: how many seats vote, by effective stake, 1..64
    min_stake: uint256  # own effective stake of a validator, base units, 10**12 .. 10**26
    weight_cap_bps: uint256  # most that one validator weighs, of all counted stake, 100..10000
    unbonding_epochs: uint256  # closings before unstaked tokens are free, 3..1000
    immunity_epochs: uint256  # epochs a new miner cannot be evicted in, 2..1000
    min_price: uint256  # of a miner's registration, stake token base units, up to 2**112 - 1
    max_price: uint256  # min_price .. 2**112 - 1
    price_half_life: uint256  # seconds, 60 .. 365 days
    refund_bps: uint256  # part of the price that comes back; the rest is burned, 0..10000
    floor_miners: uint256  # eviction leaves so many miners that are not immune, 0..255
    audit_share_bps: uint256  # of a validator's reward, paid only when audited, 0..5000
    slash_bps: uint256  # of a pool, for a confirmed mismatch, 0..10000


_ONE: constant(uint256) = 10 ** 18
_DAY: constant(uint256) = 24 * 3_600


@internal
@pure
def _require_valid(params: MarketParams):
    """
    @notice Reverts, naming the parameter, when one is out of its bounds.
    @dev Three closings of unbonding span at least two whole epochs, which is more than one
         epoch and its reveals. Two epochs of immunity let a newcomer be measured in a whole
         epoch, and that measurement be revealed, before it can be evicted.
    @param params The rules.
    """
    assert len(params.subnet) > 0, "rules: subnet is empty"
    assert self._within(params.commit_seconds, 1, 30 * _DAY), "rules: commit_seconds out of bounds"
    assert self._within(params.reveal_seconds, 1, 30 * _DAY), "rules: reveal_seconds out of bounds"
    assert params.activity_epochs <= 1_000, "rules: activity_epochs out of bounds"
    assert self._within(params.kappa, _ONE // 2 + 1, _ONE), "rules: kappa out of bounds"
    assert self._within(params.bond_alpha, _ONE // 1_000, _ONE), "rules: bond_alpha out of bounds"
    assert params.validator_share_bps <= 10_000, "rules: validator_share_bps out of bounds"
    assert self._within(params.max_miners, 1, 255), "rules: max_miners out of bounds"
    assert self._within(params.max_validators, 1, 64), "rules: max_validators out of bounds"
    assert self._within(params.min_stake, 10 ** 12, 10 ** 26), "rules: min_stake out of bounds"
    assert self._within(params.weight_cap_bps, 100, 10_000), "rules: weight_cap_bps out of bounds"
    assert self._within(params.unbonding_epochs, 3, 1_000), "rules: unbonding_epochs out of bounds"
    assert self._within(params.immunity_epochs, 2, 1_000), "rules: immunity_epochs out of bounds"
    assert params.min_price < 2 ** 112, "rules: min_price out of bounds"
    assert self._within(
        params.max_price, params.min_price, 2 ** 112 - 1
    ), "rules: max_price out of bounds"
    assert self._within(
        params.price_half_life, 60, 365 * _DAY
    ), "rules: price_half_life out of bounds"
    assert params.refund_bps <= 10_000, "rules: refund_bps out of bounds"
    assert params.floor_miners <= 255, "rules: floor_miners out of bounds"
    assert params.audit_share_bps <= 5_000, "rules: audit_share_bps out of bounds"
    assert params.slash_bps <= 10_000, "rules: slash_bps out of bounds"


@internal
@pure
def _within(given: uint256, least: uint256, most: uint256) -> bool:
    return least <= given and given <= most
