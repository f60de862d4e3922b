"""The hub: real sockets, a real journal, agents that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tercet.chain.keys import Key
from tercet.errors import EnvelopeError, UnreachableError
from tercet.swarm.envelope import FIRST, read_envelope, seal, signer_of
from tercet.swarm.hub import WINDOW, Hub
from tercet.swarm.journal import Journal, read_events, verify_journal
from tercet.swarm.link import Link, call_for_proposals, open_link


def key_of(number: int) -> Key:
    return Key(number.to_bytes(32, "big"))


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    with Journal(tmp_path / "journal.db") as opened:
        yield opened


@pytest.fixture
async def hub(journal: Journal) -> AsyncIterator[Hub]:
    async with Hub(journal) as served:
        yield served


class Crew:
    """Agents `agent-1` and so on, connected."""

    def __init__(self, hub: Hub, count: int) -> None:
        self.hub = hub
        self.keys = {f"agent-{n}": key_of(n) for n in range(1, count + 1)}
        self.tokens = {agent: hub.admit(agent, key.address) for agent, key in self.keys.items()}

    def open(self, agent: str) -> AbstractAsyncContextManager[Link]:
        return open_link(self.hub.url, self.tokens[agent], agent, self.keys[agent])


async def test_what_is_said_is_heard_and_written_down_first(hub: Hub, journal: Journal) -> None:
    """The journal has the very envelope that the receiver gets, signature and all."""
    crew = Crew(hub, 2)
    async with crew.open("agent-1") as one, crew.open("agent-2") as two:
        said = await one.say("inform", "agent-2", {"found": 3}, claims=["c1"], cost=5)
        written = [event.body["envelope"] for event in read_events(journal.path, kinds=("message",))]
        heard = await two.hear()
        assert heard == said == read_envelope(written[0])
        assert signer_of(heard) == key_of(1).address


async def test_an_agent_cannot_speak_for_another(hub: Hub, journal: Journal) -> None:
    """Neither with its own key and another's name, nor over its own connection with a stolen key."""
    crew = Crew(hub, 3)
    forged = seal(key_of(1), "inform", "agent-2", "agent-3", "pay me", prev=FIRST)
    stolen = seal(key_of(2), "inform", "agent-2", "agent-3", "pay me", prev=FIRST)
    own_name = seal(key_of(2), "inform", "agent-1", "agent-3", "pay me", prev=FIRST)
    for envelope, code in ((forged, "not_yours"), (stolen, "not_yours"), (own_name, "forged")):
        with pytest.raises(EnvelopeError) as caught:
            await hub.post("agent-1", envelope.model_dump())
        assert caught.value.code == code
    assert list(journal.events(kinds=("message",))) == []
    assert crew.tokens


async def test_a_replay_is_refused_also_after_a_restart(hub: Hub, journal: Journal) -> None:
    """The chain of `prev` is in the journal, so a new hub knows what was said before."""
    Crew(hub, 2)
    said = seal(key_of(1), "request", "agent-1", "agent-2", "work", prev=FIRST)
    await hub.post("agent-1", said.model_dump())
    with pytest.raises(EnvelopeError) as caught:
        await hub.post("agent-1", said.model_dump())
    assert caught.value.code == "replayed"
    again = Hub(journal)
    Crew(again, 2)
    with pytest.raises(EnvelopeError) as caught:
        await again.post("agent-1", said.model_dump())
    assert caught.value.code == "replayed"
    await again.post("agent-1", seal(key_of(1), "inform", "agent-1", "agent-2", "more", prev=said.hash).model_dump())


async def test_a_refusal_leaves_the_link_usable(hub: Hub) -> None:
    """What the hub did not take is not part of the chain."""
    crew = Crew(hub, 2)
    async with crew.open("agent-1") as one, crew.open("agent-2") as two:
        with pytest.raises(EnvelopeError, match="no agent nobody-1") as caught:
            await one.say("inform", "nobody-1", 1)
        assert caught.value.code == "unknown_receiver"
        await one.say("inform", "agent-2", 2)
        assert (await two.hear()).content == 2


async def test_a_flood_is_refused_and_then_cut_off(journal: Journal) -> None:
    """Beyond its rate an agent is told how long to wait; one that does not listen is thrown out."""
    async with Hub(journal, rate=1.0, burst=5.0, clock=lambda: 1000.0) as hub:
        crew = Crew(hub, 2)
        async with crew.open("agent-1") as one:
            for number in range(5):
                await one.say("inform", "agent-2", number)
            with pytest.raises(EnvelopeError) as caught:
                await one.say("inform", "agent-2", 6)
            assert caught.value.code == "flood"
            assert caught.value.retry_after == 1.0
        headers = {"Authorization": f"Bearer {crew.tokens['agent-1']}"}
        async with connect(hub.url, additional_headers=headers, proxy=None) as raw:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(1500):
                    await raw.send('{"say":{}}')
                    await raw.recv()
        assert raw.close_reason == "flood"
    assert len(list(journal.events(kinds=("message",)))) == 5


async def test_a_reader_that_stalls_stalls_nobody_else(journal: Journal) -> None:
    """Its mailbox fills, senders are told `full`, and others are served meanwhile."""
    async with Hub(journal, burst=10_000.0, mailbox=20) as hub:
        crew = Crew(hub, 3)
        headers = {"Authorization": f"Bearer {crew.tokens['agent-2']}"}
        async with (
            connect(hub.url, additional_headers=headers, max_queue=1, proxy=None, close_timeout=0.1),
            crew.open("agent-1") as one,
            crew.open("agent-3") as three,
        ):
            saying = [one.say("inform", "agent-2", "x" * 5000) for _ in range(WINDOW + 21)]
            said = await asyncio.gather(*saying, return_exceptions=True)
            refused = [each for each in said if isinstance(each, EnvelopeError)]
            assert 1 <= len(refused) <= WINDOW + 1
            assert {error.code for error in refused} == {"full"}
            await one.say("inform", "agent-3", "still here")
            assert (await three.hear()).content == "still here"


async def test_what_was_not_taken_is_brought_again(hub: Hub) -> None:
    """Messages wait for an agent that is away, and for one that broke off before it read them."""
    crew = Crew(hub, 2)
    async with crew.open("agent-1") as one:
        for number in range(3):
            await one.say("inform", "agent-2", number)
        async with crew.open("agent-2") as two:
            assert (await two.hear()).content == 0
            await two.say("inform", "agent-1", "so that the hub has read what came before")
        async with crew.open("agent-2") as two:
            assert [(await two.hear()).content for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_a_token_that_opens_nothing(hub: Hub, token: str) -> None:
    """The handshake is refused."""
    with pytest.raises(UnreachableError, match="cannot reach the hub"):
        async with open_link(hub.url, token, "agent-1", key_of(1)):
            pass


async def test_an_expelled_agent_is_silent(hub: Hub) -> None:
    """Killing an agent ends its connection, and its token opens nothing any more."""
    crew = Crew(hub, 2)
    async with crew.open("agent-1") as one:
        await hub.expel("agent-1")
        with pytest.raises(UnreachableError, match="expelled"):
            await one.hear()
        with pytest.raises(UnreachableError):
            await one.say("inform", "agent-2", 1)
    with pytest.raises(UnreachableError):
        async with crew.open("agent-1"):
            pass


async def test_junk_frames_are_answered_and_change_nothing(hub: Hub, journal: Journal) -> None:
    """Whatever a connection sends."""
    crew = Crew(hub, 1)
    headers = {"Authorization": f"Bearer {crew.tokens['agent-1']}"}
    async with connect(hub.url, additional_headers=headers, proxy=None) as raw:
        await raw.recv()
        for junk in ("", "[]", '{"say":5}', '{"took":5}', b"\xff\xfe", '{"say":{"id":{}}}'):
            await raw.send(junk)
            assert json.loads(await raw.recv())["refused"]["code"] == "malformed"
    assert list(journal.events()) == []


async def bid(link: Link, price: int, seconds: float) -> str:
    """Answer one call; what was said to the offer."""
    call = await link.hear()
    await link.reply(call, "propose", {"price": price, "seconds": seconds})
    return (await link.hear()).performative


async def test_a_call_for_proposals_takes_the_cheapest_then_the_quickest(hub: Hub) -> None:
    """The same offers have the same winner in whatever order they come."""
    crew = Crew(hub, 5)
    async with (
        crew.open("agent-1") as lead,
        crew.open("agent-2") as dear,
        crew.open("agent-3") as slow,
        crew.open("agent-4") as quick,
        crew.open("agent-5") as unwilling,
    ):

        async def refuse() -> None:
            await unwilling.reply(await unwilling.hear(), "refuse", {"why": "busy"})

        award, _, *told = await asyncio.gather(
            call_for_proposals(lead, ["agent-2", "agent-3", "agent-4", "agent-5"], "work", seconds=30, budget=100),
            refuse(),
            bid(dear, 90, 1.0),
            bid(slow, 50, 9.0),
            bid(quick, 50, 2.0),
        )
        assert award is not None
        assert (award.agent, award.proposal.price) == ("agent-4", 50)
        assert told == ["reject-proposal", "reject-proposal", "accept-proposal"]


async def test_of_equal_offers_the_first_of_the_call_is_taken(hub: Hub) -> None:
    """Not the one that came first, nor the one whose name sorts first."""
    crew = Crew(hub, 3)
    async with crew.open("agent-1") as lead, crew.open("agent-2") as other, crew.open("agent-3") as named:
        offered = asyncio.Event()

        async def bid_first() -> None:
            await other.reply(await other.hear(), "propose", {"price": 0, "seconds": 5.0})
            offered.set()

        async def bid_second() -> None:
            await offered.wait()
            await named.reply(await named.hear(), "propose", {"price": 0, "seconds": 5.0})

        award, *_ = await asyncio.gather(
            call_for_proposals(lead, ["agent-3", "agent-2"], "work", seconds=30, budget=0), bid_first(), bid_second()
        )
        assert award is not None
        assert award.agent == "agent-3"


async def test_a_call_ends_at_its_deadline_and_a_late_offer_is_refused(hub: Hub) -> None:
    """Silence costs no more than the deadline; junk and offers above the budget never win."""
    crew = Crew(hub, 4)
    async with (
        crew.open("agent-1") as lead,
        crew.open("agent-2") as late,
        crew.open("agent-3") as greedy,
        crew.open("agent-4") as liar,
    ):

        async def junk() -> None:
            call = await liar.hear()
            await liar.reply(call, "propose", {"price": -1, "seconds": "soon"})

        asked, _, told = await asyncio.gather(
            call_for_proposals(lead, ["agent-2", "agent-3", "agent-4"], "work", seconds=2.0, budget=10),
            junk(),
            bid(greedy, 11, 1.0),
        )
        assert asked is None
        assert told == "reject-proposal"
        call = await late.hear()
        with pytest.raises(EnvelopeError) as caught:
            await late.reply(call, "propose", {"price": 1, "seconds": 1.0})
        assert caught.value.code == "late"


async def test_a_call_is_answered_once_by_who_was_asked_and_to_who_called(hub: Hub, journal: Journal) -> None:
    """A second offer, one in another's place and one behind the caller's back are refused, after a restart as well."""
    crew = Crew(hub, 3)
    call = seal(key_of(1), "cfp", "agent-1", "agent-2", "work", prev=FIRST)
    await hub.post("agent-1", call.model_dump())
    offer = {"price": 1, "seconds": 1.0}

    def answer(number: int, receiver: str, prev: str) -> dict[str, object]:
        return seal(
            key_of(number), "propose", f"agent-{number}", receiver, offer, prev=prev, in_reply_to=call.id
        ).model_dump()  # fmt: skip

    async def refused(at: Hub, number: int, receiver: str, prev: str) -> str:
        with pytest.raises(EnvelopeError) as caught:
            await at.post(f"agent-{number}", answer(number, receiver, prev))
        return caught.value.code

    assert await refused(hub, 3, "agent-1", FIRST) == "not_asked"
    assert await refused(hub, 2, "agent-3", FIRST) == "not_asked"
    said = await hub.post("agent-2", answer(2, "agent-1", FIRST))
    assert await refused(hub, 2, "agent-1", said.hash) == "answered"
    again = Hub(journal)
    for agent, key in crew.keys.items():
        again.admit(agent, key.address)
    assert await refused(again, 2, "agent-1", said.hash) == "answered"
    assert await refused(again, 3, "agent-1", FIRST) == "not_asked"
    assert len(list(journal.events(kinds=("message",)))) == 2


async def test_an_answer_that_nobody_gives_is_a_timeout(hub: Hub) -> None:
    """`ask` waits as long as it was told, and the answer that comes later is heard all the same."""
    crew = Crew(hub, 2)
    async with crew.open("agent-1") as one, crew.open("agent-2") as two:
        with pytest.raises(TimeoutError):
            await one.ask("query-ref", "agent-2", "why?", seconds=0.05)
        await two.reply(await two.hear(), "inform", "because")
        assert (await one.hear()).content == "because"


@pytest.mark.slow
async def test_a_hundred_agents_say_five_thousand_things(journal: Journal) -> None:
    """Each is heard once, in the sender's order, and the journal verifies."""
    async with Hub(journal) as hub:
        crew, ready = Crew(hub, 100), asyncio.Barrier(100)
        names = list(crew.keys)

        async def talk(index: int) -> list[tuple[str, int]]:
            async with crew.open(names[index]) as link:
                await ready.wait()
                receiver = names[(index + 1) % 100]
                saying = asyncio.gather(*(link.say("inform", receiver, {"n": n, "pad": "x" * 200}) for n in range(50)))
                heard = [await link.hear() for _ in range(50)]
                await saying
                return [(one.sender, one.content["n"]) for one in heard]

        found = await asyncio.gather(*(talk(index) for index in range(100)))
    for index, heard in enumerate(found):
        assert heard == [(names[index - 1], n) for n in range(50)]
    assert verify_journal(journal.path)[0] == 5000
