"""A market's reward token is a stranger's: while it is moved, it may call whatever it likes, and gains nothing."""

from __future__ import annotations

from typing import Any

from tests.chain.contracts.arena import BOND, CREDIT, NOTHING, TCT, Arena, Member, Params, make_row
from tests.chain.contracts.evm import Contract

from tercet.chain.artifacts import ContractName, load_artifact
from tercet.market.epoch import pack_row

HARMLESS = {
    # Its own keys, addresses and proposals, which nothing in a closing reads.
    "Market.set_endpoint",
    "Market.set_miner_operator",
    "Market.set_validator_operator",
    "Rules.cancel_proposal",
    "Rules.propose",
    "Rules.transfer_ownership",
    # Its own stake, which may move at any moment of a closing: what is paid next goes to the shares active then.
    "Stakes.claim",
    "Stakes.set_take",
    "Stakes.stake",
    "Stakes.unstake",
    "Stakes.withdraw",
}
"""What may go through from within a payment."""

CONTRACTS: tuple[ContractName, ...] = ("Market", "Stakes", "Treasury", "Rules", "Registry")


class Trap:
    """A market whose reward token owns it, mines, validates, delegates and sponsors in it."""

    def __init__(self) -> None:
        self.arena = arena = Arena(Params(max_miners=3))
        arena.credit = self.token = arena.ledger.deploy_source("hostile_token")
        self.here = self.token.address
        for who in (self.here, arena.opener):
            arena.token.send(arena.bank, "transfer", who, 10 * BOND)
        arena.token.send(arena.opener, "approve", arena.registry.address, BOND)
        opened = arena.registry.send(arena.opener, "open_market", self.here, "trap", arena.params.tuple()).value
        arena.market = arena.ledger.attach("Market", opened)
        arena.stakes = arena.ledger.attach("Stakes", arena.market.call("stakes"))
        arena.treasury = arena.ledger.attach("Treasury", arena.market.call("treasury"))
        arena.rules = arena.ledger.attach("Rules", arena.market.call("rules"))
        self.contracts: dict[str, Contract] = dict(
            zip(CONTRACTS, (arena.market, arena.stakes, arena.treasury, arena.rules, arena.registry), strict=True)
        )
        for contract in self.contracts.values():
            self.run(arena.token, "approve", contract.address, 2**255)
        self.token.send(arena.bank, "mint", self.here, 10**12)
        self.settle_in()

    def settle_in(self) -> None:
        """The token takes every place there is; a rival stands beside it."""
        arena = self.arena
        arena.rules.send(arena.opener, "transfer_ownership", self.here)
        self.run(arena.rules, "accept_ownership")
        self.run(arena.market, "register_miner", arena.ledger.account("operator"), "", 2**200)
        self.run(arena.market, "register_validator", self.here, 2_000 * TCT, 0)  # it is its own operator
        self.pool = arena.as_of()
        arena.add_miner()
        self.rival = arena.add_validator(1_000 * TCT)
        self.run(arena.stakes, "stake", self.rival.pool, 300 * TCT)
        self.run(arena.treasury, "sponsor", 40 * CREDIT, 20)
        self.run(arena.treasury, "sponsor", 40 * CREDIT, 20)
        arena.skip_epoch()
        self.run(arena.stakes, "unstake", self.rival.pool, 50 * TCT)
        self.vote()
        arena.close()
        for _ in range(3):  # what it unstaked is released
            arena.skip_epoch()
        self.run(arena.treasury, "cancel", 1)
        self.run(arena.rules, "propose", arena.params.tuple())
        self.vote()
        self.arena.market.send(arena.opener, "begin_close")
        self.arena.market.send(arena.opener, "settle_pages", 0, self.hints)

    def vote(self) -> None:
        """The token and its rival agree."""
        arena, row = self.arena, make_row([20_000, 20_000], 3)
        generation = arena.as_of()
        arena.commit(self.rival, row, generation)
        digest = arena.digest(Member(0, self.here, self.here), generation, pack_row(row))
        self.run(arena.market, "commit", digest)
        arena.ledger.now += arena.params.commit_seconds
        arena.reveal(self.rival, row, generation)
        self.opening = arena.opening_of(row, generation)
        self.run(arena.market, "reveal", *self.opening)
        arena.ledger.now += arena.params.reveal_seconds
        self.hints = pack_row(row)

    def run(self, contract: Contract, name: str, *arguments: Any) -> None:
        """The token acts as an ordinary account."""
        self.token.send(self.arena.bank, "run", contract.address, contract.encode(name, *arguments))

    def try_within_payment(self, contract: Contract, name: str, *arguments: Any) -> bool:
        """Finish the epoch with a token that makes this call while it is paid; whether the call went through."""
        before = self.arena.ledger.snapshot()
        self.token.send(self.arena.bank, "arm", contract.address, contract.encode(name, *arguments))
        self.arena.market.send(self.arena.opener, "finish_close")
        assert self.token.call("called")
        went_through = bool(self.token.call("went_through"))
        books = self.arena.treasury.call("books")
        owed = sum(books[pot] for pot in ("owed", "budget", "refundable", "carry"))
        assert self.token.call("balanceOf", self.arena.treasury.address) == owed
        assert self.token.call("balanceOf", self.arena.stakes.address) == self.arena.stakes.call("books")["reward"]
        self.arena.ledger.restore(before)
        return went_through


def test_a_token_gains_nothing_by_calling_back_while_it_pays() -> None:
    """Every function that changes anything in a market is tried from within the payment, by somebody entitled to it."""
    trap = Trap()
    arena, here, stranger = trap.arena, trap.here, trap.arena.ledger.account("stranger")
    params, listing = arena.params.tuple(), arena.market.address
    arguments: dict[str, tuple[Any, ...]] = {
        "Market.register_miner": (stranger, "", 2**200),
        "Market.apply_miner": (stranger, "", 2**200),
        "Market.withdraw_application": (stranger,),
        "Market.leave_miner": (1,),
        "Market.claim_deposit": (),
        "Market.set_miner_operator": (1, stranger),
        "Market.set_endpoint": (1, "elsewhere"),
        "Market.register_validator": (stranger, 3_000 * TCT, 0),
        "Market.leave_validator": (0,),
        "Market.set_validator_operator": (0, stranger),
        "Market.commit": (NOTHING,),
        "Market.reveal": trap.opening,
        "Market.begin_close": (),
        "Market.settle_pages": (0, trap.hints),
        "Market.pay_miners": (),
        "Market.finish_close": (),
        "Market.close_epoch": (trap.hints,),
        "Market.wind_down": (),
        "Stakes.attach": (here, here),
        "Stakes.open_pool": (99, here, 1_000 * TCT, 0),
        "Stakes.close_pool": (trap.pool,),
        "Stakes.set_take": (trap.pool, 100),
        "Stakes.stake": (trap.pool, TCT),
        "Stakes.unstake": (trap.pool, TCT),
        "Stakes.withdraw": (trap.rival.pool,),
        "Stakes.claim": (trap.pool,),
        "Stakes.reward": (5, here, [trap.pool], [10**6]),
        "Stakes.slash": (trap.rival.pool, 100, here),
        "Stakes.release": (trap.pool, 1),
        "Stakes.forfeit": (trap.rival.pool, 1),
        "Treasury.attach": (here,),
        "Treasury.sponsor": (CREDIT, 1),
        "Treasury.cancel": (0,),
        "Treasury.claim_refund": (1,),
        "Treasury.fund": (CREDIT,),
        "Treasury.fund_emission": (TCT,),
        "Treasury.sweep": (),
        "Treasury.poke": (here, 1, 1),
        "Treasury.distribute": (5, True, 1, 1, 0, [], [], True),
        "Treasury.withdraw": (),
        "Rules.attach": (here,),
        "Rules.propose": (params,),
        "Rules.cancel_proposal": (),
        "Rules.take_effect": (),
        "Rules.transfer_ownership": (stranger,),
        "Rules.accept_ownership": (),
        "Registry.open_market": (here, "another", params),
        "Registry.return_bond": (listing,),
    }
    writes = {
        f"{name}.{entry['name']}"
        for name in CONTRACTS
        for entry in load_artifact(name).abi
        if entry["type"] == "function" and entry["stateMutability"] not in {"view", "pure"}
    }
    assert set(arguments) == writes
    went_through = set()
    for call, values in arguments.items():
        name, function = call.split(".")
        if trap.try_within_payment(trap.contracts[name], function, *values):
            went_through.add(call)
    assert went_through == HARMLESS


def test_what_is_refused_within_the_payment_is_allowed_after_it() -> None:
    """The refusals above come from where the call stands, not from a caller who had no right to it."""
    trap = Trap()
    arena = trap.arena
    arena.market.send(arena.opener, "finish_close")
    for call, values in {
        "Treasury.withdraw": (),
        "Treasury.claim_refund": (1,),
        "Treasury.fund": (CREDIT,),
        "Treasury.sponsor": (CREDIT, 1),
        "Stakes.claim": (trap.pool,),
        "Stakes.withdraw": (trap.rival.pool,),
        "Stakes.unstake": (trap.rival.pool, TCT),
        "Market.leave_miner": (1,),
        "Market.wind_down": (),
    }.items():
        name, function = call.split(".")
        trap.run(trap.contracts[name], function, *values)
