"""Who does what when: the honest people of a market, and the order of an epoch.

An attack adds its own actors to these and lets `play` run the epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

from tercet.attacks.archive import Log
from tercet.attacks.arena import SAMPLES, Arena, Party, Seat, Slot
from tercet.attacks.lab import TCT
from tercet.market import build_row
from tercet.market.audit import EMPTY_EVIDENCE, Evaluation, sample_index

STAKE = 1_000 * TCT
"""Of one honest validator."""


class Actor:
    """Somebody with something to do in an epoch. Does nothing; override the moments that matter."""

    def begin(self, arena: Arena) -> None:
        """The epoch has just begun."""

    def commit(self, arena: Arena) -> None:
        """The commit phase."""

    def reveal(self, arena: Arena) -> None:
        """The reveal phase."""

    def close(self, arena: Arena) -> None:
        """The epoch is over and nobody has begun to close it."""

    def end(self, arena: Arena) -> None:
        """The epoch is closed."""


class Validator(Actor):
    """Votes by `row`, and checks others' logs. Honest: looks at every miner, pays for that, says what it saw."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.entries: Sequence[Evaluation] = ()
        """Of the log behind the row of this epoch; empty for no log."""

    @property
    def party(self) -> Party:
        """Whose it is."""
        return self.seat.party

    # the audit of the epoch before

    def begin(self, arena: Arena) -> None:
        """Check everybody's log of the epoch before, vouch for those in order, accuse a liar."""
        epoch = arena.epoch - 1
        if epoch < 0 or not arena.rules.audit_share_bps or not arena.weighs(self.seat):
            return
        good, lies = [], []
        beacon = arena.beacon(epoch)
        for other in arena.seats:
            log = arena.archive.fetch(epoch, other.pool)
            if other is self.seat or other.revealed != epoch or log is None:
                continue
            lie = self.check(arena, log, beacon)
            if lie is not None:
                lies.append((other, lie))
            elif self.vouches(arena, log):
                good.append(other)
        arena.attest(self.seat, epoch, good)
        for other, sample in lies[:1]:
            arena.accuse(self.seat, other, epoch, sample)

    def check(self, arena: Arena, log: Log, beacon: bytes) -> int | None:
        """The first sample of a log that does not reproduce; checking costs."""
        self.party.spend(SAMPLES * arena.lab.economy.checking)
        return arena.archive.find_lie(log, beacon, SAMPLES)

    def vouches(self, arena: Arena, log: Log) -> bool:
        """Whether to vouch for a log whose samples reproduce."""
        return arena.archive.is_complete(log)

    def judge(self, arena: Arena, log: Log, beacon: bytes, sample: int) -> bool:
        """Whether the accused is guilty."""
        self.party.spend(arena.lab.economy.checking)
        entry = log.entries[sample_index(beacon, log.entries[0].pool, sample, log.count)]
        return not arena.archive.is_true(entry)

    def vote(self, arena: Arena) -> None:
        """Say what is true of everybody who stands accused."""
        for epoch, accuser, accused, sample in arena.accusations:
            log = arena.archive.fetch(epoch, accused.pool)
            if epoch == arena.epoch - 1 and self.seat not in (accuser, accused) and log is not None:
                guilty = self.judge(arena, log, arena.beacon(epoch), sample)
                arena.vote(self.seat, accused, epoch, sample, guilty=guilty)

    # the vote of this epoch

    def measure(self, arena: Arena) -> dict[int, float]:
        """Ask every miner, and keep the answers for the log; the scores by uid."""
        self.party.spend(arena.lab.economy.measuring)
        scores = arena.look()
        place = (arena.market.address, arena.epoch, self.seat.pool)
        self.entries = arena.archive.measure(*place, scores, arena.generations)
        return scores

    def row(self, arena: Arena) -> Sequence[int] | None:
        """What to commit to; None commits nothing."""
        return build_row(self.measure(arena), arena.columns)

    def commit(self, arena: Arena) -> None:
        """Vote on what others are accused of, and commit to the row of this epoch."""
        self.vote(arena)
        self.entries = ()
        row = self.row(arena)
        if row is not None:
            evidence = arena.archive.publish(self.entries, row, arena.slots) if self.entries else EMPTY_EVIDENCE
            arena.commit(self.seat, row, evidence)

    def reveal(self, arena: Arena) -> None:
        """Reveal it."""
        arena.reveal(self.seat)


class Miner(Actor):
    """Works: pays for its machine. A machine that several miners share is paid for by `pays` of them."""

    def __init__(self, slot: Slot, *, pays: bool = True) -> None:
        self.slot, self._pays = slot, pays

    @property
    def party(self) -> Party:
        """Whose it is."""
        return self.slot.party

    def begin(self, arena: Arena) -> None:
        """Keep the machine running, or, in a churning world, leave; somebody else takes the place."""
        if not self.here(arena):
            return
        if self._pays:
            self.party.spend(arena.lab.economy.serving)

    def here(self, arena: Arena) -> bool:
        """Whether it still has its place."""
        return arena.slots.get(self.slot.uid) is self.slot


class Crowd(Actor):
    """Honest miners nobody is compared with. In a churning world some of them are replaced in each epoch."""

    def __init__(self, arena: Arena, count: int) -> None:
        self.party = arena.party("crowd")
        self.slots = [arena.add_miner(self.party) for _ in range(count)]

    def begin(self, arena: Arena) -> None:
        """Let the world move."""
        for place, slot in enumerate(self.slots):
            if arena.slots.get(slot.uid) is slot and arena.epoch and arena.scenario.leaves():
                arena.remove_miner(slot)
                self.slots[place] = arena.add_miner(self.party)


class Town:
    """The usual market: a sponsor, honest validators, a crowd of miners, and whoever comes on top."""

    def __init__(self, arena: Arena, *, validators: int = 4, miners: int = 7, stake: int = STAKE) -> None:
        self.arena = arena
        self.actors: list[Actor] = []
        self.sponsor = arena.party("sponsor")
        arena.add_sponsor(self.sponsor)
        self.crowd = Crowd(arena, miners)
        self.actors.append(self.crowd)
        self.validators = [self.seat("honest", stake) for _ in range(validators)]

    def seat(self, name: str, stake: int = STAKE) -> Validator:
        """One more honest validator, a party of its own."""
        validator = Validator(self.arena.add_validator(self.arena.party(name), stake))
        self.actors.append(validator)
        return validator

    def mine(self, name: str, quality: float | None = 1.0) -> Miner:
        """One more honest miner, a party of its own."""
        machine = self.arena.scenario.build_machine(quality)
        miner = Miner(self.arena.add_miner(self.arena.party(name), machine))
        self.actors.append(miner)
        return miner

    def add(self, *actors: Actor) -> None:
        """Let others in; they act after those who are there."""
        self.actors += actors

    def play(self, epochs: int | None = None) -> None:
        """Run so many epochs from beginning to end, and two quiet ones in which the last audits end."""
        for _ in range(self.arena.lab.epochs if epochs is None else epochs):
            play_epoch(self.arena, self.actors)
        if self.arena.rules.audit_share_bps:
            for _ in range(2):
                play_quiet_epoch(self.arena, [actor for actor in self.actors if isinstance(actor, Validator)])
            self.arena.settle_audits()


def play_epoch(arena: Arena, actors: Sequence[Actor]) -> None:
    """One epoch from beginning to end; an honest keeper closes it if nobody else does."""
    epoch = arena.epoch
    arena.scenario.pass_epoch()
    arena.settle_audits()
    for actor in actors:
        actor.begin(arena)
    for actor in actors:
        actor.commit(arena)
    arena.pass_time(arena.rules.commit_seconds)
    for actor in actors:
        actor.reveal(arena)
    arena.pass_time(arena.rules.reveal_seconds)
    for actor in actors:
        actor.close(arena)
    if arena.epoch == epoch:
        arena.close()
    for actor in actors:
        actor.end(arena)


def play_quiet_epoch(arena: Arena, validators: Sequence[Validator]) -> None:
    """Nobody measures or votes; the audit of the epoch before goes on."""
    arena.settle_audits()
    for validator in validators:
        validator.begin(arena)
    for validator in validators:
        validator.vote(arena)
    arena.pass_time(arena.rules.commit_seconds + arena.rules.reveal_seconds)
    arena.close()
