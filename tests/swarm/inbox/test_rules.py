"""The fourteen rules of a person's attention, one class each, as agents and the person meet them.

Rule 13 (one key stops a subtree) and 14 (the screen) are the terminal's: tests/cli/test_inbox.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import ApprovalError, CardError
from tercet.swarm.inbox import Card, Choice, Scope, digest_call
from tercet.swarm.inbox.queue import open_container
from tercet.swarm.inbox.rules import WINDOW, cause_of, common_node, in_flood, is_chatter, may_show, share_of
from tercet.swarm.inbox.stamps import build_canary, canary_is_due, is_stamping

from .conftest import CREDIT, HOUR, MINUTE, Office


class TestRule1AnAskNamesWhatIsAtStake:
    """Action, deadline, default, loss; no field for a priority."""

    @pytest.mark.parametrize(
        "missing", [{"action": "  "}, {"loss": -1}, {"agent": "somebody"}], ids=["action", "loss", "agent"]
    )
    def test_an_ask_that_names_less_does_not_exist(self, office: Office, missing: dict[str, Any]) -> None:
        """It is refused before anybody sees it."""
        with pytest.raises(CardError, match="An ask has to name"):
            office.card(**missing) if "agent" not in missing else office.card("", "")

    def test_a_deadline_is_needed(self, office: Office) -> None:
        """Without one nobody knows when the default holds."""
        with pytest.raises(CardError, match="a deadline"):
            office.card(minutes=-office.clock.now())

    def test_agents_do_not_rank_themselves(self) -> None:
        """Nothing on a card says how urgent its author finds it."""
        assert not {"priority", "urgent", "rank"} & set(Card.__dataclass_fields__)

    def test_words_cannot_draw_over_the_screen(self, office: Office) -> None:
        """Control characters in what an agent wrote are gone."""
        card = office.card(action="Pay\x1b[2J\r\nyes", evidence=["a\x1b]0;b\x07"])
        assert card.action == "Pay [2J yes"
        assert card.evidence == ("a ]0;b",)


class TestRule2OneQueueByLossAverted:
    """The best use of the next second stands on top; silence is safe."""

    async def test_the_costlier_mistake_stands_on_top(self, office: Office) -> None:
        """Whoever asked first."""
        await office.raise_(loss=CREDIT // 10)
        dear = await office.raise_("fixer-2", loss=5 * CREDIT)
        assert office.inbox.queue().items[0].top == dear

    async def test_words_cost_attention(self, office: Office) -> None:
        """Of two equal losses the one that is read quicker comes first."""
        await office.raise_(evidence=["word " * 70])
        short = await office.raise_("fixer-2")
        assert office.inbox.queue().items[0].top == short

    async def test_a_class_that_was_often_wrong_comes_first(self, office: Office) -> None:
        """What the person said no to before is more likely wrong again."""
        for i in range(3):
            card = await office.raise_(f"fixer-{i}", kind="files", tool="delete")
            await office.inbox.answer(card.id, "no", dwell=5)
        await office.raise_("fixer-8")
        risky = await office.raise_("fixer-9", kind="files", tool="delete")
        assert office.inbox.queue().items[0].top == risky

    @pytest.mark.parametrize(
        ("reversible", "kind", "choice"), [(True, "network", "yes"), (False, "network", "no"), (True, "money", "no")]
    )
    async def test_silence_means_what_is_safe(
        self, office: Office, reversible: bool, kind: str, choice: Choice
    ) -> None:
        """What can be undone goes on; what cannot, or spends, is not done."""
        task = await office.ask(office.card(reversible=reversible, kind=kind, minutes=10))
        await office.clock.wind(9.9 * MINUTE)
        assert not task.done()
        await office.clock.wind(0.2 * MINUTE)
        answer = await task
        assert (answer.choice, answer.by) == (choice, "default")


class TestRule3CommonCauses:
    """Same class, tool and cause: one card, one answer."""

    async def test_twenty_agents_at_one_limit_are_one_card(self, office: Office) -> None:
        """And one key answers all of them."""
        for i in range(20):
            await office.raise_(f"fixer-{i}", cause="weather.example answers 429")
        items = office.inbox.queue().items
        assert [(item.shape, item.agents) for item in items] == [("cause", 20)]
        made = await office.inbox.answer(items[0].id, "yes")
        assert len(made.cards) == 20
        assert {(await task).by for task in office.asks} == {"person"}
        assert office.inbox.state.decisions == 1

    async def test_an_answer_covers_what_was_on_the_screen(self, office: Office) -> None:
        """A card that joined the group after it was drawn waits for a look of its own."""
        first = await office.raise_(cause="down")
        seen = office.inbox.state.seq
        late = await office.ask(office.card("fixer-2", cause="down"))
        await office.inbox.answer(cause_of(first), "yes", seen=seen)
        await office.settle()
        assert office.asks[0].done()
        assert not late.done()

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from(["", "x", "y"])), max_size=12))
    def test_judgement_and_final_acts_are_never_merged(self, drawn: list[tuple[bool, str]]) -> None:
        """No cause in common, or no way back: a card alone."""
        cards = [
            Card(f"id{i}", "a", "network", f"run/c/a-{i}", "t", "d", 1.0, 1, reversible, cause)
            for i, (reversible, cause) in enumerate(drawn)
        ]
        keys = [cause_of(card) for card in cards]
        for card, key in zip(cards, keys, strict=True):
            if not card.cause or not card.reversible:
                assert keys.count(key) == 1


class TestRule4AnswersBecomePolicies:
    """And for this class up to X until T: bounded, revocable, logged."""

    async def policy(self, office: Office, **bounds: Any) -> str:
        """From the answer to one card of 0.1 credit."""
        card = await office.raise_()
        scope = Scope("network", bounds.pop("up_to", CREDIT), office.clock.now() + HOUR, **bounds)
        return (await office.inbox.answer(card.id, "yes", scope=scope)).policy

    async def test_the_class_is_answered_from_then_on(self, office: Office) -> None:
        """Also in its narrower forms, and without a person."""
        name = await self.policy(office)
        answer = await office.inbox.ask(office.card("fixer-2", kind="network:docs.example"))
        assert (answer.choice, answer.by) == ("yes", f"policy:{name}")

    async def test_what_already_waits_is_answered_too(self, office: Office) -> None:
        """In the order in which it was asked."""
        waiting = await office.ask(office.card("fixer-2"))
        name = await self.policy(office)
        assert (await waiting).by == f"policy:{name}"

    async def test_no_call_is_dearer_than_the_one_that_was_seen(self, office: Office) -> None:
        """The person agreed to 0.1 credit, not to 0.2."""
        await self.policy(office)
        dearer = await office.ask(office.card("fixer-2", loss=CREDIT // 5))
        assert not dearer.done()

    async def test_together_they_stay_within_the_bound(self, office: Office) -> None:
        """0.3 credit are three calls of 0.1, however many ask at once."""
        await self.policy(office, up_to=3 * CREDIT // 10)
        tasks = [await office.ask(office.card(f"fixer-{i}")) for i in range(9)]
        assert sum(task.done() for task in tasks) == 3

    async def test_it_ends(self, office: Office) -> None:
        """When it said."""
        await self.policy(office)
        await office.clock.wind(HOUR + 1)
        assert not (await office.ask(office.card("fixer-2"))).done()

    async def test_it_can_be_revoked(self, office: Office) -> None:
        """At once, and it stands in the journal."""
        name = await self.policy(office)
        await office.inbox.revoke(name)
        assert not (await office.ask(office.card("fixer-2"))).done()
        kinds = [event.kind for event in await office.events("policy.made", "policy.revoked")]
        assert kinds == ["policy.made", "policy.revoked"]

    @pytest.mark.parametrize(
        ("bounds", "words"),
        [
            ({"until": 0.0}, "A policy ends"),
            ({"until": 10 * 86_400.0}, "A policy ends"),
            ({"up_to": -1}, "0 or more"),
            ({"kind": "everything"}, "no class"),
        ],
    )
    async def test_there_are_no_unbounded_policies(self, office: Office, bounds: dict[str, Any], words: str) -> None:
        """Money, time and class."""
        now = office.clock.now()
        scope = Scope(bounds.get("kind", "network"), bounds.get("up_to", CREDIT), now + bounds.get("until", HOUR))
        with pytest.raises(CardError, match=words):
            await office.inbox.make_policy(scope)

    async def test_what_cannot_be_undone_is_never_answered_by_a_policy(self, office: Office) -> None:
        """Neither by one that is there, nor by making one from it."""
        await office.inbox.make_policy(Scope("publish", 99 * CREDIT, office.clock.now() + HOUR))
        card = await office.raise_(kind="publish", reversible=False)
        assert not office.asks[-1].done()
        with pytest.raises(CardError, match="one by one"):
            await office.inbox.answer(
                card.id, "yes", scope=Scope("publish", CREDIT, office.clock.now() + HOUR), dwell=9
            )

    async def test_a_no_goes_before_a_yes(self, office: Office) -> None:
        """Two policies that contradict each other: the careful one holds."""
        until = office.clock.now() + HOUR
        await office.inbox.make_policy(Scope("network", CREDIT, until))
        await office.inbox.make_policy(Scope("network:ads.example", 0, until), "no")
        assert not (await office.inbox.ask(office.card(kind="network:ads.example"))).yes

    async def test_a_class_approved_often_gets_a_proposal(self, office: Office) -> None:
        """More than 90 % of 20 answers; not before, and not with two noes."""
        from tercet.swarm.inbox.stamps import propose

        for i in range(20):
            assert propose(office.inbox.state.verdicts, "network") is None
            card = await office.raise_(f"fixer-{i}")
            await office.inbox.answer(card.id, "no" if i == 7 else "yes", dwell=3)
        proposal = propose(office.inbox.state.verdicts, "network")
        assert proposal is not None
        assert (proposal.yes, proposal.of, proposal.each) == (19, 20, CREDIT // 10)
        card = await office.raise_("fixer-99")
        await office.inbox.answer(card.id, "no", dwell=3)
        assert propose(office.inbox.state.verdicts, "network") is None


class TestRule5SandboxFirst:
    """Nothing inside the sandbox asks."""

    @pytest.mark.parametrize("kind", ["sandbox", "python", "network2", ""])
    def test_what_stays_inside_does_not_ask(self, office: Office, kind: str) -> None:
        """Only the classes at the membrane do."""
        with pytest.raises(CardError, match="only what leaves the sandbox"):
            office.card(kind=kind)


class TestRule6ApprovalsAreForOneCall:
    """Bound to the digest of the exact call, expiring, used once, the same after a resume."""

    async def approved(self, office: Office) -> tuple[Card, Any]:
        """A card and its yes."""
        card = await office.raise_()
        await office.inbox.answer(card.id, "yes")
        return card, await office.asks[-1]

    async def test_another_call_is_not_covered(self, office: Office) -> None:
        """One changed argument is another call."""
        card, answer = await self.approved(office)
        with pytest.raises(ApprovalError, match="approves the call"):
            await office.inbox.use(answer, digest_call("fetch", {"page": 2}))
        await office.inbox.use(answer, card.digest)

    async def test_it_is_used_once(self, office: Office) -> None:
        """A second call needs a second ask."""
        card, answer = await self.approved(office)
        await office.inbox.use(answer, card.digest, "s1")
        with pytest.raises(ApprovalError, match="was used"):
            await office.inbox.use(answer, card.digest, "s2")

    async def test_two_at_once_do_not_both_get_it(self, office: Office) -> None:
        """Also before the disk has it."""
        card, answer = await self.approved(office)
        tries = await asyncio.gather(
            *(office.inbox.use(answer, card.digest, f"s{i}") for i in range(4)), return_exceptions=True
        )
        assert sum(result is None for result in tries) == 1

    async def test_the_step_that_is_replayed_may_use_it_again(self, office: Office) -> None:
        """Same idempotency key: the payment below it is made once anyway."""
        card, answer = await self.approved(office)
        await office.inbox.use(answer, card.digest, "s1")
        await office.inbox.use(answer, card.digest, "s1")

    async def test_it_expires(self, office: Office) -> None:
        """And whoever asks again, asks the person again."""
        card, answer = await self.approved(office)
        await office.clock.wind(HOUR)
        with pytest.raises(ApprovalError, match="is over"):
            await office.inbox.use(answer, card.digest)
        later = office.card(step=card.step, call={"page": 1}, minutes=90)
        assert later.id == card.id
        assert not (await office.ask(later)).done()

    async def test_a_no_is_no_approval(self, office: Office) -> None:
        """Whatever the caller thinks it got."""
        card = await office.raise_()
        await office.inbox.answer(card.id, "no")
        with pytest.raises(ApprovalError, match="not approved"):
            await office.inbox.use(await office.asks[-1], card.digest)


class TestRule7WaitingParksOneBranch:
    """The agent goes on with other work."""

    async def test_others_are_answered_meanwhile(self, office: Office) -> None:
        """Also other asks of the same agent, and the loop turns."""
        slow = await office.ask(office.card())
        quick = await office.raise_()
        await office.inbox.answer(quick.id, "yes")
        await office.settle()
        assert office.asks[-1].done()
        assert not slow.done()

    async def test_an_agent_that_was_ended_waits_no_longer(self, office: Office) -> None:
        """Its cards leave the queue with a no."""
        ended, other = await office.ask(office.card()), await office.ask(office.card("fixer-2"))
        assert office.inbox.withdraw("run/fixers/fixer-1", "killed") == 1
        assert not (await ended).yes
        assert not other.done()


class TestRule8LeadsFirst:
    """A crew lead absorbs what it may."""

    async def test_the_lead_answers_and_nobody_is_bothered(self, office: Office) -> None:
        """The journal says who it was."""

        async def lead(card: Card) -> Choice | None:
            return "yes" if card.kind == "network" else None

        office.inbox.leads["run/fixers"] = lead
        answer = await office.inbox.ask(office.card())
        assert (answer.choice, answer.by) == ("yes", "lead:run/fixers")
        assert not (await office.ask(office.card(kind="people"))).done()
        assert len(office.inbox.queue().items) == 1

    @pytest.mark.parametrize("heavy", [{"reversible": False}, {"loss": 5 * CREDIT}], ids=["final", "dear"])
    async def test_a_lead_never_decides_what_weighs_much(self, office: Office, heavy: dict[str, Any]) -> None:
        """What cannot be undone, or costs much, goes to the person."""

        async def lead(_: Card) -> Choice | None:
            return "yes"

        office.inbox.leads["run/fixers"] = lead
        assert not (await office.ask(office.card(**heavy))).done()


class TestRule9ChatterAndFloods:
    """Three asks in ten minutes are one stuck agent, more than ten decisions one incident."""

    async def test_a_chattering_agent_is_one_card(self, office: Office) -> None:
        """Its asks stand behind it, and the card answers none of them."""
        for _ in range(5):
            await office.raise_()
        other = await office.raise_("fixer-2")
        items = office.inbox.queue().items
        assert {(item.shape, len(item.cards)) for item in items} == {("stuck", 5), ("ask", 1)}
        stuck = next(item for item in items if item.shape == "stuck")
        assert stuck.node == "run/fixers/fixer-1"
        with pytest.raises(CardError, match="one by one"):
            await office.inbox.answer(stuck.id, "yes")
        for item in open_container(office.inbox.state, stuck):
            await office.inbox.answer(item.id, "yes")
        assert [item.top for item in office.inbox.queue().items] == [other]

    async def test_an_answer_in_a_stuck_card_reaches_nobody_outside_it(self, office: Office) -> None:
        """A card of the stuck agent that shares its cause with others is answered for this agent alone."""
        for _ in range(3):
            await office.raise_(cause="down")
        others = [await office.ask(office.card(f"fixer-{i}", cause="down")) for i in (2, 3)]
        stuck = next(item for item in office.inbox.queue().items if item.shape == "stuck")
        for item in open_container(office.inbox.state, stuck):
            made = await office.inbox.answer(item.id, "yes")
            assert set(made.cards) == {card.id for card in item.cards}
        await office.settle()
        assert not any(task.done() for task in others)

    @pytest.mark.parametrize(
        ("times", "chatter"), [([0, 1, 2], True), ([0, 300, 600], True), ([0, 300, 601], False), ([0, 1], False)]
    )
    def test_three_within_ten_minutes(self, times: list[float], chatter: bool) -> None:
        """To the second."""
        assert is_chatter(times) is chatter

    async def test_a_flood_is_one_incident(self, office: Office) -> None:
        """What cannot be undone stays in sight; nothing is answered by it, and one key pauses its subtree."""
        for i in range(11):
            await office.raise_(f"fixer-{i}")
        final = await office.raise_("payer-1", "payers", kind="money", reversible=False, loss=3 * CREDIT)
        found = office.inbox.queue()
        assert found.flood
        by_shape = {item.shape: item for item in [*found.items, *found.held]}
        assert len(by_shape["incident"].cards) == 11
        assert by_shape["incident"].node == "run/fixers"
        assert by_shape["ask"].top == final
        with pytest.raises(CardError, match="one by one"):
            await office.inbox.answer("incident", "yes")
        assert not any(task.done() for task in office.asks)

    async def test_it_is_over_below_five(self, office: Office) -> None:
        """Not at ten: it would flicker."""
        for i in range(12):
            await office.raise_(f"fixer-{i}", minutes=600)
            await office.clock.wind(40)
        await office.clock.wind(4 * MINUTE)
        assert 5 <= sum(at > office.clock.now() - WINDOW for at in office.inbox.state.arrivals) <= 10
        assert office.inbox.queue().flood
        await office.clock.wind(5 * MINUTE)
        assert not office.inbox.queue().flood

    @given(st.lists(st.floats(0, 4000), max_size=60), st.floats(0, 6000))
    def test_a_flood_by_its_definition(self, times: list[float], now: float) -> None:
        """Stepping through every moment at which a count changes gives the same."""
        times = sorted(times)
        flood = False
        for at in sorted({*times, *(time + WINDOW for time in times)}):
            if at > now:
                break
            count = sum(at - WINDOW < time <= at for time in times)
            flood = count > 10 or (flood and count >= 5)
        assert in_flood(times, now) is flood


class TestRule10TheQuota:
    """Six decisions an hour for the run, twelve at the most, shared by the crews, whatever the number of agents."""

    async def test_nobody_is_shown_more_than_the_ceiling(self, office: Office) -> None:
        """Over its share a crew waits behind the line; the journal says so."""
        for i in range(9):
            await office.raise_(f"fixer-{i}", minutes=300)
            await office.clock.wind(2 * MINUTE)
        found = office.inbox.queue()
        assert (len(found.items), len(found.held)) == (6, 3)
        over = [event.body["over_quota"] for event in await office.events("ask.raised")]
        assert over == [False] * 6 + [True] * 3
        await office.clock.wind(HOUR)
        assert len(office.inbox.queue().items) == 9

    async def test_a_stuck_card_counts_as_what_it_holds(self, office: Office) -> None:
        """Four decisions behind it: it comes when the hour has room for them."""
        for i in range(8):
            await office.raise_(f"fixer-{i}", loss=5 * CREDIT, minutes=300)
            await office.clock.wind(3 * MINUTE)
        for _ in range(4):
            await office.raise_("chatty-1", loss=5 * CREDIT, minutes=300)
        assert "stuck" not in {item.shape for item in office.inbox.queue().items}
        await office.clock.wind(HOUR)
        assert "stuck" in {item.shape for item in office.inbox.queue().items}

    def test_crews_share(self) -> None:
        """A crew that asked little is heard although others took the hour; up to the ceiling."""
        greedy = [(float(i), "run/greedy") for i in range(6)]
        assert not may_show(greedy, "run/greedy", 10, crews=6, decisions=6)
        assert may_show(greedy, "run/quiet", 10, crews=6, decisions=6)
        assert not may_show(greedy * 2, "run/quiet", 10, crews=6, decisions=6)
        assert may_show(greedy, "run/greedy", 3700, crews=6, decisions=6)
        assert may_show(greedy, "run/greedy", 10, crews=6, decisions=6, weighty=True)
        assert not may_show(greedy * 2, "run/greedy", 10, crews=6, decisions=6, weighty=True)

    @pytest.mark.parametrize(("crews", "share"), [(1, 6), (2, 3), (5, 2), (7, 1), (100, 1)])
    def test_shares(self, crews: int, share: int) -> None:
        """At least one each."""
        assert share_of(crews) == share

    async def test_its_default_still_holds_in_time(self, office: Office) -> None:
        """What is held back does not wait longer than it said."""
        for i in range(8):
            await office.raise_(f"fixer-{i}", minutes=30)
        await office.clock.wind(31 * MINUTE)
        assert all(task.done() for task in office.asks)


class TestRule11RubberStamps:
    """Whoever no longer looks is asked again, and tested."""

    async def test_a_quick_yes_to_much_is_asked_again(self, office: Office) -> None:
        """Until it was looked at; a quick no is fine."""
        card = await office.raise_(loss=4 * CREDIT)
        made = await office.inbox.answer(card.id, "yes", dwell=0.3)
        assert made.status == "again"
        assert made.wait == pytest.approx(1.7)
        assert not office.asks[-1].done()
        assert (await office.inbox.answer(card.id, "yes", dwell=2.5)).status == "answered"
        other = await office.raise_("fixer-2", reversible=False)
        assert (await office.inbox.answer(other.id, "no", dwell=0.1)).status == "answered"

    async def test_stamping_is_seen_by_rate_and_dwell(self, office: Office) -> None:
        """Twenty quick yeses; slow ones are no stamps. Then the least dwell doubles."""
        for i in range(20):
            card = await office.raise_(f"fixer-{i}")
            await office.inbox.answer(card.id, "yes", dwell=0.4)
        assert is_stamping(office.inbox.state.verdicts, "network")
        card = await office.raise_("fixer-99", loss=4 * CREDIT)
        assert (await office.inbox.answer(card.id, "yes", dwell=3)).status == "again"
        assert (await office.inbox.answer(card.id, "yes", dwell=4.1)).status == "answered"

    async def test_a_test_card_looks_like_a_card_and_does_nothing(self, office: Office) -> None:
        """A yes to it makes the guard stricter."""
        office.inbox.canary_every = 1
        card = await office.raise_()
        await office.inbox.answer(card.id, "yes")
        (item,) = office.inbox.queue().items
        assert item.top.id in office.inbox.state.canaries
        assert "canary" not in str(item.top.to_json())
        office.inbox.canary_every = 0
        made = await office.inbox.answer(item.id, "yes", dwell=5)
        assert made.canary
        assert item.top.id not in office.inbox.state.answers
        assert is_stamping(office.inbox.state.verdicts, "network")

    def test_test_cards_come_by_a_draw(self) -> None:
        """About one in forty, the same for the same run, and what they ask cannot be undone."""
        due = [i for i in range(1, 8001) if canary_is_due("run-7", i)]
        assert 150 < len(due) < 250
        assert not build_canary("run-7", due[0], "run/c/a", 0.0).reversible


class TestRule12TheDigest:
    """Seven lines after an absence: tests/swarm/inbox/test_absence.py has the facts."""

    async def test_seven_lines_whatever_the_number_of_agents(self, office: Office) -> None:
        """No scroll."""
        from tercet.swarm.inbox import Since, build_digest

        since = Since()
        for i in range(100):
            await office.raise_(f"fixer-{i}", minutes=5)
        await office.clock.wind(6 * MINUTE)
        for event in await office.events():
            since.apply(event)
        lines = build_digest(since, office.clock.now())
        assert len(lines) == 7
        assert "decided by default: 100 went on, 0 were not done" in lines


def test_the_subtree_of_several_agents() -> None:
    """What one key pauses: their crew, or the run."""
    assert common_node(["run/a/x-1", "run/a/x-2"]) == "run/a"
    assert common_node(["run/a/x-1", "run/b/y-1"]) == "run"
    assert common_node(["run/a/x-1"]) == "run/a/x-1"
