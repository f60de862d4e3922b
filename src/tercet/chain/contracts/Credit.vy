# pragma version ==0.4.3
"""
@title Tercet test credit
@license Apache-2.0
@author Tercet contributors
@notice The test dollar of development chains: 6 decimals, EIP-2612 and EIP-3009.
        It stands where a stablecoin stands in production; it is worth nothing.
@custom:kill The owner can mint without limit, so never use it where money is real.
             There is no pause; on a development chain, deploy another one.
"""
import eip712
import erc20
import eip2612
import eip3009

initializes: eip712
initializes: erc20
initializes: eip2612[erc20 := erc20, eip712 := eip712]
initializes: eip3009[erc20 := erc20, eip712 := eip712]

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
    eip2612.permitWithSignature,
    eip2612.nonces,
    eip3009.transferWithAuthorization,
    eip3009.receiveWithAuthorization,
    eip3009.cancelAuthorization,
    eip3009.transferWithSignature,
    eip3009.receiveWithSignature,
    eip3009.cancelWithSignature,
    eip3009.authorizationState,
    eip712.DOMAIN_SEPARATOR,
    eip712.eip712Domain,
)


owner: public(immutable(address))


@deploy
def __init__(_owner: address):
    """
    @notice Starts with no supply.
    @param _owner Who may mint.
    """
    owner = _owner
    eip712.__init__("Tercet Credit", "1")
    erc20.__init__("Tercet Credit", "CREDIT", 6)


@external
def mint(receiver: address, amount: uint256):
    """
    @notice Makes test dollars. Only the owner may.
    @param receiver Who gets them.
    @param amount How many base units (6 decimals).
    """
    assert msg.sender == owner, "credit: caller is not the owner"
    erc20._mint(receiver, amount)


@external
@pure
def version() -> String[8]:
    """
    @notice The version in the EIP-712 domain.
    @return String[8] The version.
    """
    return "1"
