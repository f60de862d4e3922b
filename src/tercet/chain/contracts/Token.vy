# pragma version ==0.4.3
"""
@title Tercet stake token
@license Apache-2.0
@author Tercet contributors
@notice TCT: what validators stake and miners deposit. ERC-20 with EIP-2612 permits and a cap.
@dev A first supply is minted at deployment. What comes later comes from one minter, a contract
     with a schedule, that the deployer names once and nobody can replace. Everybody may burn
     what is theirs, and what is burned leaves room under the cap.
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
    eip2612.permitWithSignature,
    eip2612.nonces,
    eip712.DOMAIN_SEPARATOR,
    eip712.eip712Domain,
)


event MinterSet:
    minter: indexed(address)


CAP: constant(uint256) = 100_000_000 * 10 ** 18

_DEPLOYER: immutable(address)

minter: public(address)


@deploy
def __init__(holder: address, supply: uint256):
    """
    @notice Mints the first supply.
    @param holder Who gets it.
    @param supply Base units (18 decimals); at most the cap.
    """
    assert supply <= CAP, "token: supply above the cap"
    _DEPLOYER = msg.sender
    eip712.__init__("Tercet", "1")
    erc20.__init__("Tercet", "TCT", 18)
    erc20._mint(holder, supply)


@external
def set_minter(minter: address):
    """
    @notice Names the only contract that may ever mint. Only the deployer may, and only once.
    @param minter The contract.
    """
    assert msg.sender == _DEPLOYER, "token: caller is not the deployer"
    assert self.minter == empty(address), "token: minter already set"
    assert minter.is_contract, "token: minter is not a contract"
    self.minter = minter
    log MinterSet(minter=minter)


@external
def mint(receiver: address, amount: uint256):
    """
    @notice Makes tokens, up to the cap. Only the minter may.
    @param receiver Who gets them.
    @param amount Base units.
    """
    assert msg.sender == self.minter, "token: caller is not the minter"
    assert erc20.totalSupply + amount <= CAP, "token: supply above the cap"
    erc20._mint(receiver, amount)


@external
def burn(amount: uint256):
    """
    @notice Destroys tokens of the caller.
    @param amount Base units.
    """
    erc20._burn(msg.sender, amount)


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
