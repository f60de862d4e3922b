# pragma version ==0.4.3
"""
@title Tercet stake token
@license Apache-2.0
@author Tercet contributors
@notice TCT: what validators stake and miners deposit. ERC-20 with EIP-2612 permits and a cap.
@dev The supply is minted once, at deployment. Emission under the cap is a later contract's
     task; there is no door for it here yet.
@custom:kill There is no owner and no switch: the token can be neither paused nor changed.
             To retire it, let markets wind down and their members withdraw.
"""
import eip712
import erc20
import eip2612

initializes: eip712
initializes: erc20
initializes: eip2612[erc20 := erc20, eip712 := eip712]

exports: (
    erc20.name,
    erc20.symbol,
    erc20.decimals,
    erc20.totalSupply,
    erc20.balanceOf,
    erc20.allowance,
    erc20.transfer,
    erc20.transferFrom,
    erc20.approve,
    eip2612.permit,
    eip2612.nonces,
    eip712.DOMAIN_SEPARATOR,
    eip712.eip712Domain,
)


CAP: constant(uint256) = 100_000_000 * 10 ** 18


@deploy
def __init__(holder: address, supply: uint256):
    """
    @notice Mints the whole supply.
    @param holder Who gets it.
    @param supply Base units (18 decimals); at most the cap.
    """
    assert supply <= CAP, "token: supply above the cap"
    eip712.__init__("Tercet", "1")
    erc20.__init__("Tercet", "TCT", 18)
    erc20._mint(holder, supply)


@external
@pure
def cap() -> uint256:
    """
    @notice The most base units that can ever exist.
    @return uint256 The cap.
    """
    return CAP


@external
@pure
def version() -> String[8]:
    """
    @notice The version in the EIP-712 domain.
    @return String[8] The version.
    """
    return "1"
