"""What a look at uncovered lines asked for: tokens that say no, the most miners, views that only people read."""

from __future__ import annotations

from typing import Any

import pytest
from tests.chain.contracts.arena import BOND, CREDIT, FOUR, SUPPLY, TCT, TIMELOCK, ZERO, Arena, Params, make_row
from tests.chain.contracts.evm import Contract, Ledger, Reverted
from tests.chain.contracts.test_escrow import PAYER, Till

from tercet.market.epoch import pack_row


class Shop:
    """A market whose two tokens are one liar."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.liar = self.ledger.deploy_source("lying_token")
        blueprints = tuple(self.ledger.deploy_blueprint(name) for name in FOUR)
        self.registry = self.ledger.deploy("Registry", self.liar.address, blueprints, BOND, TIMELOCK, ZERO, ZERO)
        self.owner = self.person()
        opened = self.open_market().value
        self.market = self.ledger.attach("Market", opened)
        self.stakes = self.ledger.attach("Stakes", self.market.call("stakes"))
        self.treasury = self.ledger.attach("Treasury", self.market.call("treasury"))

    def person(self) -> str:
        """Somebody with plenty."""
        who = self.ledger.account()
        self.liar.send(who, "mint", who, SUPPLY)
        return who

    def open_market(self) -> Any:
        return self.registry.send(self.owner, "open_market", self.liar.address, "shop", Params().tuple())

    def refuse(self, who: str, contract: Contract, name: str, *arguments: Any) -> None:
        """The call fails while the token lies, for that reason, and goes through afterwards."""
        self.liar.send(who, "set_lies", True)
        with pytest.raises(Reverted, match=r"^\w+: token transfer failed$"):
            contract.send(who, name, *arguments)
        self.liar.send(who, "set_lies", False)
        contract.send(who, name, *arguments)


def test_a_token_that_says_no_stops_whatever_it_should_have_moved() -> None:
    """Every way in and out of a market's contracts looks at what the token answered."""
    shop = Shop()
    who, operator = shop.person(), shop.ledger.account("operator")
    shop.refuse(shop.owner, shop.registry, "open_market", shop.liar.address, "again", Params().tuple())
    shop.refuse(who, shop.market, "register_miner", shop.ledger.account(), "", SUPPLY)
    shop.refuse(who, shop.market, "leave_miner", 1)
    shop.refuse(who, shop.market, "register_validator", operator, 1_000 * TCT, 0)
    pool = shop.market.call("generation")
    shop.refuse(who, shop.stakes, "stake", pool, TCT)
    shop.refuse(who, shop.treasury, "sponsor", CREDIT, 1)
    shop.refuse(who, shop.treasury, "fund", CREDIT)
    shop.refuse(who, shop.treasury, "fund_emission", TCT)
    shop.market.send(shop.owner, "wind_down")
    shop.ledger.now += 120
    shop.market.send(who, "close_epoch", [0])
    shop.market.send(who, "leave_validator", 0)
    shop.stakes.send(who, "unstake", pool, 2**256 - 1)
    shop.refuse(who, shop.stakes, "withdraw", pool)
    shop.refuse(who, shop.treasury, "claim_refund", 0)
    shop.refuse(who, shop.registry, "return_bond", shop.market.address)


def test_a_channel_takes_whole_amounts_or_none() -> None:
    """A token that keeps a part, or says no, opens no channel."""
    till = Till()
    liar = till.ledger.deploy_source("lying_token")
    liar.send(PAYER.address, "mint", PAYER.address, 1_000)
    config = till.config(token=liar.address)
    liar.send(PAYER.address, "set_fee", 1)
    with pytest.raises(Reverted, match="escrow: token took a fee"):
        till.escrow.send(PAYER.address, "open", config, 100)
    liar.send(PAYER.address, "set_fee", 0)
    liar.send(PAYER.address, "set_lies", True)
    with pytest.raises(Reverted, match="escrow: token transfer failed"):
        till.escrow.send(PAYER.address, "open", config, 100)
    liar.send(PAYER.address, "set_lies", False)
    till.escrow.send(PAYER.address, "open", config, 100)
    assert liar.call("balanceOf", till.escrow.address) == 100


def test_zero_addresses_get_no_tokens_and_no_allowance() -> None:
    """A mistyped receiver is refused, whoever mints or approves."""
    arena = Arena()
    with pytest.raises(Reverted, match="erc20: mint to the zero address"):
        arena.credit.send(arena.bank, "mint", ZERO, 1)
    with pytest.raises(Reverted, match="erc20: approve the zero address"):
        arena.token.send(arena.bank, "approve", ZERO, 1)


def test_a_mechanism_version_is_bounded() -> None:
    """So that it fits where it is stored."""
    with pytest.raises(Reverted, match="rules: mechanism_version out of bounds"):
        Arena(Params(mechanism_version=2**256 - 1))


def test_views_say_what_is_owed_and_what_comes() -> None:
    """By token; a token that the market does not know is owed to nobody."""
    arena = Arena()
    miner, _ = arena.add_miner(), arena.add_validator()
    arena.add_sponsor(10 * CREDIT, 1)
    funder = arena.ledger.account("funder")
    arena.give_stake_token(funder, 8 * TCT, arena.treasury)
    arena.treasury.send(funder, "fund_emission", 8 * TCT)
    assert (arena.treasury.call("emission"), arena.treasury.call("next_emission")) == (0, 8 * TCT)
    arena.skip_epoch()
    assert (arena.treasury.call("emission"), arena.treasury.call("next_emission")) == (8 * TCT, 0)
    row = make_row([65_535], 2)
    arena.vote({0: row})
    arena.close()
    assert list(arena.market.call("get_consensus"))[:1] == pack_row(row)
    in_stake = arena.treasury.call("owed", arena.token.address, miner.owner)
    in_reward = arena.treasury.call("owed", arena.credit.address, miner.owner)
    assert in_stake == 4 * TCT
    assert arena.treasury.call("owed", arena.market.address, miner.owner) == 0
    assert arena.treasury.send(miner.owner, "withdraw").value == (in_reward, in_stake)


def test_tokens_tell_the_domain_that_they_sign_under() -> None:
    """By ERC-5267, for wallets."""
    arena = Arena()
    for token, name in ((arena.token, "Tercet"), (arena.credit, None)):
        domain = token.call("eip712Domain")
        assert domain[0] == b"\x0f"
        assert domain[1] == (name or domain[1])
        assert domain[2] == token.call("version")
        assert domain[3] == arena.ledger.chain_id
        assert domain[4].lower() == token.address.lower()
        assert len(token.call("DOMAIN_SEPARATOR")) == 32


@pytest.mark.slow
def test_a_market_with_every_slot_taken_is_full() -> None:
    """255 miners: the next one finds no slot, and waits for one."""
    arena = Arena()
    for uid in range(1, 256):
        assert arena.add_miner("").slot == uid
    with pytest.raises(Reverted, match="market: no free miner slot"):
        arena.add_miner("")
    arena.add_applicant()
    assert arena.market.call("status")["columns"] == 256
    arena.market.send(arena.miners[200].owner, "leave_miner", 200)
    arena.skip_epoch()
    assert arena.market.call("get_applicants") == ()
