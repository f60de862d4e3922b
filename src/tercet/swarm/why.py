"""Why there is what there is: from a file, a receipt or a payment back to the person who wanted it.

All of it is read from the journal, up to where its chain of hashes holds. It ends with what was verified and how, and
says just as plainly what was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tercet.errors import DamagedJournalError, UsageError
from tercet.swarm.claims import Claim, fold_claims
from tercet.swarm.explanation import Explanation, Kind, Line, Verified
from tercet.swarm.journal import Event, read_events, verify_journal
from tercet.swarm.state import fold
from tercet.swarm.views import ArtefactView, CallView, RunState, TaskView
from tercet.swarm.why_checks import believed, on_disk, tested
from tercet.swarm.why_words import (
    DEVELOPERS,
    agent_words,
    call_words,
    check_words,
    claim_words,
    contract_words,
    given_words,
    many,
    money,
    offer_words,
    pass_words,
    plain,
    policy_words,
)

__all__ = ["explain"]

_MOST = 12
"""Lines of one kind; the rest is counted."""
_SHORTEST = 8
"""Characters of an id or a digest that may stand for it."""


def explain(run: Path, target: str, *, sellers: Iterable[str] = ()) -> Explanation:
    """Who is responsible for `target`.

    Args:
        run: folder of the run.
        target: path or sha256 of a file that it made, id of a receipt or of a payment; or anything, with `sellers`.
        sellers: addresses that a transaction paid: explained by what the run bought from them.

    Raises:
        UsageError: the run knows nothing of it.
        DamagedJournalError: nothing before the event at which its journal was changed.
        JournalError: there is no journal.

    """
    wanted = frozenset(each.lower() for each in sellers)
    path = run / "journal.db"
    try:
        events, chain = _trusted(path)
    except DamagedJournalError as error:
        return _explain_damaged(run, target, wanted, error)
    return _Answer(run, events, chain).find(target, wanted)


def _explain_damaged(run: Path, target: str, sellers: frozenset[str], damage: DamagedJournalError) -> Explanation:
    """From the events before the first that does not follow."""
    events = list(islice(read_events(run / "journal.db"), damage.seq - 1))
    how = f"it was changed at event {damage.seq}; all that is told here comes from the {len(events)} events before"
    try:
        return _Answer(run, events, Verified("the journal", ok=False, how=how)).find(target, sellers)
    except UsageError as error:
        raise DamagedJournalError(f"{error} Of its journal: {how}.", damage.seq) from damage


def _trusted(path: Path) -> tuple[list[Event], Verified]:
    count, head = verify_journal(path)
    how = f"each of {count} events follows from the one before, up to {head.hex()[:16]}"
    return [event for event in read_events(path) if event.seq <= count], Verified("the journal", ok=True, how=how)


class _Answer:
    """One run's events, and the sentences that they make."""

    def __init__(self, run: Path, events: Sequence[Event], chain: Verified) -> None:
        self.run, self.events, self.chain = run, events, chain
        self.state: RunState = fold(events)
        self.claims = fold_claims(events)

    def find(self, target: str, sellers: frozenset[str]) -> Explanation:
        if (made := self._artefact(target)) is not None:
            return self._explain_artefact(made)
        if calls := self._calls(target):
            return self._explain_calls(target, calls, "call")
        if paid := self._payments(target):
            return self._explain_payment(paid[0])
        bought = [
            call for call in self.state.calls.values() if str(call.upstream.get("operator", "")).lower() in sellers
        ]
        if bought:
            return self._explain_calls(target, bought, "seller")
        raise UsageError(
            f"The run {self.run.name} made no file, call or payment {plain(target)!r}. Name a file as its report does, or a"
            f" receipt's id; tercet journal show {self.run.name} lists them."
        )

    # finding

    def _artefact(self, target: str) -> ArtefactView | None:
        made = self.state.artefacts
        if target in made:
            return made[target]
        name = target.removeprefix("./").rstrip("/")
        fits = [
            view
            for path, view in made.items()
            if path == name
            or name.endswith("/" + path)
            or (len(name) >= _SHORTEST and view.sha256.startswith(name.removeprefix("sha256:")))
        ]
        return fits[-1] if fits else None

    def _calls(self, target: str) -> list[CallView]:
        if len(target) < _SHORTEST:
            return []
        return [
            call
            for call in self.state.calls.values()
            if call.id.startswith(target) or str(call.upstream.get("receipt", "")).startswith(target)
            or target in {str(call.upstream.get("transaction", "")), str(call.upstream.get("channel", ""))}
        ]  # fmt: skip

    def _payments(self, target: str) -> list[Event]:
        return [
            event
            for event in self.events
            if event.kind == "tool" and event.body.get("receipt") and len(target) >= _SHORTEST
            and (str(event.body["receipt"]).startswith(target) or str(event.body.get("digest", "")).startswith(target))
        ]  # fmt: skip

    # explaining

    def _explain_artefact(self, made: ArtefactView) -> Explanation:
        task = self.state.tasks.get(made.task, TaskView(made.task))
        calls = [self.state.calls[name] for name in made.receipts if name in self.state.calls]
        agent = made.agent.rpartition("/")[2]
        claims, recalled = self._claims_of(made, agent), self._recalled(made, agent)
        how = f", found by {made.by}" if made.by else ""
        top = Line(
            f"{plain(made.path)}: {made.bytes} bytes, sha256 {made.sha256[:16]}, made by {plain(agent)}{how}.",
            [
                self._person(), self._task(task), self._agent(agent, calls), self._cost(calls),
                self._beliefs(claims), *self._memory(recalled), self._acts(agent, made.task),
            ],
        )  # fmt: skip
        checks = [
            self.chain,
            on_disk(self.run, self.state.run.dir, made),
            tested(task),
            believed(self.claims, [*claims, *recalled]),
        ]
        return Explanation(self.run.name, "artefact", made.path, [top], checks, calls)

    def _explain_calls(self, target: str, calls: Sequence[CallView], kind: Kind) -> Explanation:
        bought = f"{plain(target)} paid for {many(len(calls), 'call')} of this run" if kind == "seller" else None
        tops = []
        for call in calls[:_MOST]:
            task, agent = self.state.tasks.get(call.task, TaskView(call.task)), call.agent or call.node
            made = [view.path for view in self.state.artefacts.values() if call.id in view.receipts]
            files = Line(f"It went into {', '.join(map(plain, made[:_MOST]))}." if made else "It went into no file.")
            below = [self._person(), self._task(task), self._agent(agent, [call]), files]
            tops.append(Line(f"Receipt {call.id}: {call_words(call)}", below))
        if len(calls) > _MOST:
            tops.append(Line(f"And {len(calls) - _MOST} more."))
        tree = [Line(bought + ".", tops)] if bought else tops
        return Explanation(self.run.name, kind, target, tree, [self.chain], calls)

    def _explain_payment(self, event: Event) -> Explanation:
        body = event.body
        agent, receipt = str(body["agent"]), str(body["receipt"])
        passed = [e for e in self.events if e.kind == "guard.passed" and e.body.get("digest") == body.get("digest")]
        named = [self.claims[name] for name in body.get("claims", ()) if name in self.claims]
        task = self.state.tasks.get(event.task, TaskView(event.task))
        below = [
            self._person(), self._task(task), self._agent(agent, []),
            Line("Let pass by:", [Line(pass_words(each)) for each in passed] or [Line("nobody: no such event.")]),
            self._beliefs(named),
        ]  # fmt: skip
        top = Line(
            f"Payment {plain(receipt)}: {money(int(body.get('charged', 0)))}, by {plain(agent)} with {plain(body['tool'])}.",
            below,
        )
        checks = [self.chain, believed(self.claims, named)]
        return Explanation(self.run.name, "payment", receipt, [top], checks)

    # the parts

    def _person(self) -> Line:
        run = self.state.run
        planned = f"Planned by {plain(run.planned_by)}" if run.planned_by else "There was no plan"
        agreed = f", approved by {plain(run.approved_by)}" if run.approved_by else ", approved by nobody"
        below = [Line(f"{planned}{agreed}; budget {money(run.budget)}.")]
        below += [Line(f"Policy: {policy_words(event)}") for event in self.events if event.kind == "policy.made"][
            :_MOST
        ]
        revoked = [str(event.body.get("policy", "")) for event in self.events if event.kind == "policy.revoked"]
        below += [Line(f"Revoked later: policy {', '.join(map(plain, revoked[:_MOST]))}.")] if revoked else []
        return Line(f"The person wanted: {plain(run.goal, 300)!r}", below)

    def _task(self, task: TaskView) -> Line:
        if not task.id:
            return Line("It belongs to no task of the plan.")
        spec: Mapping[str, Any] = next(
            (each for each in self.state.run.plan.get("tasks", ()) if each.get("id") == task.id), {}
        )
        command = " ".join(map(str, spec.get("done", {}).get("command", ())))
        ended = {"done": "done", "failed": f"failed: {plain(task.why)}"}.get(task.state, task.state)
        needs = [Line(f"After {', '.join(map(plain, task.needs))}.")] if task.needs else []
        begun = [e.body for e in self.events if e.kind == "task.started" and e.task == task.id]
        given = begun[-1].get("capabilities") if begun else None
        needs += [Line(f"Its agent may: {given_words(given)}.")] if isinstance(given, Mapping) else []
        needs += [
            Line(contract_words(each), [Line(offer_words(offer)) for offer in each.get("offers", ())])
            for each in task.contracts
        ]
        return Line(
            f"Task {plain(task.id)}: {plain(task.title)} ({ended}, attempt {task.attempt}).",
            [Line(f"Done when this ends with 0: {plain(command)}"), *needs] if command else needs,
        )

    def _agent(self, name: str, calls: Sequence[CallView]) -> Line:
        agent = self.state.agents.get(name)
        started = next((e.body for e in self.events if e.kind == "agent.started" and e.body.get("agent") == name), {})
        developer = plain(str(started.get("developer") or DEVELOPERS.get(agent.kind if agent else "", "not stated")))
        words = agent_words(agent) if agent else "an agent that the run did not start"
        models = sorted(
            {call.model for call in calls if call.model} | ({agent.model} if agent and agent.model else set())
        )
        caps = started.get("capabilities") or {}
        given = given_words(caps) if isinstance(caps, Mapping) else ""
        return Line(
            f"Agent {plain(name)}: {words}.",
            [
                Line(f"Developer: {developer}."),
                Line(f"Thinks with: {', '.join(map(plain, models)) or 'no model'}."),
                Line(f"May: {given or 'nothing beyond its task'}."),
            ],
        )

    def _cost(self, calls: Sequence[CallView]) -> Line:
        if not calls:
            return Line("No model was paid for it.")
        lines = [Line(f"Receipt {call.id}: {call_words(call)}") for call in calls[:_MOST]]
        rest = [Line(f"And {len(calls) - _MOST} more.")] if len(calls) > _MOST else []
        return Line(
            f"It cost {money(sum(call.charged for call in calls))} in {many(len(calls), 'call')}.", [*lines, *rest]
        )

    def _claims_of(self, made: ArtefactView, agent: str) -> list[Claim]:
        """What it says it rests on, and what its agent claimed and read for the same task."""
        names = dict.fromkeys(made.claims)
        for event in self.events:
            if event.task == made.task and event.actor == agent and event.kind in {"claim.made", "tool"}:
                names |= dict.fromkeys([event.body["id"]] if event.kind == "claim.made" else event.body.get("read", ()))
        return [self.claims[name] for name in names if name in self.claims]

    def _beliefs(self, claims: Sequence[Claim]) -> Line:
        if not claims:
            return Line("It names no claim that it rests on.")
        lines = [
            Line(claim_words(claim), [Line(check_words(check)) for check in claim.checks]) for claim in claims[:_MOST]
        ]
        rest = [Line(f"And {len(claims) - _MOST} more.")] if len(claims) > _MOST else []
        return Line(f"It rests on {many(len(claims), 'claim')}:", [*lines, *rest])

    def _recalled(self, made: ArtefactView, agent: str) -> list[Claim]:
        """What the shared memory put into its agent's prompts."""
        names = dict.fromkeys(
            name
            for event in self.events
            if event.kind == "memory.recalled" and event.task == made.task and event.actor == agent
            for name in event.body.get("claims", ())
        )
        return [self.claims[name] for name in names if name in self.claims]

    def _memory(self, recalled: Sequence[Claim]) -> list[Line]:
        if not recalled:
            return []
        lines = [Line(claim_words(claim), [Line(check_words(check)) for check in claim.checks]) for claim in recalled]
        return [Line(f"Its prompts held {many(len(recalled), 'claim')} of the shared memory:", lines[:_MOST])]

    def _acts(self, agent: str, task: str) -> Line:
        passed = [e for e in self.events if e.kind == "guard.passed" and e.actor == agent and e.task == task]
        refused = [e for e in self.events if e.kind == "guard.refused" and e.actor == agent and e.task == task]
        lines = [Line(pass_words(each)) for each in passed[:_MOST]]
        lines += [
            Line(f"refused: {plain(e.body.get('tool', ''))}, {plain(e.body.get('why', ''), 200)}")
            for e in refused[:_MOST]
        ]
        return Line(f"On the way: {many(len(passed), 'act')} let pass, {len(refused)} refused by the guard.", lines)
