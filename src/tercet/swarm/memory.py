"""Memory: claims in Chroma, found by meaning, with who said them and whether they were checked.

Chroma holds texts and vectors; what was put into it, and what a claim is worth, the journal says. So whatever somebody writes into the files or the
server, a claim that this run did not make comes back as somebody's words, unchecked. Vectors are MiniLM's, from here:
Chroma would fetch a model of its own. All of Chroma runs in one thread, and writes gather into batches.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from tercet.errors import ClaimError, RecallError
from tercet.subnets.inference import Embedded, Embedder, pull
from tercet.swarm.claims import Claim, Claims, Origin, State

__all__ = ["Memory", "Vectors"]

COLLECTION = "claims"
_EVERYBODY = "*"
_MOST_AT_ONCE = 128
_GATHER_SECONDS = 0.02
_LONGEST_QUESTION = 2000
_MOST_FOUND = 20
_OPPOSITE = 2.0
"""The largest cosine distance there is."""
_SERVER_SECONDS = 30.0
_ANY_STATE = (State.UNVERIFIED, State.BY_TOOL, State.BY_OTHER)

T = TypeVar("T")


class Vectors(Protocol):
    """What turns texts into vectors."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """One row for each text."""


class Memory:
    """What the agents of a run remember: each its own, and what all share."""

    def __init__(
        self,
        client: Any,
        collection: Any,
        claims: Claims,
        vectors: Vectors,
        thread: ThreadPoolExecutor,
        *,
        enforce: bool,
    ) -> None:
        self.claims, self._client, self._collection, self._vectors, self._thread = (
            claims, client, collection, vectors, thread,
        )  # fmt: skip
        self.enforce = enforce
        self.most = 50_000
        """Memories there can be."""
        self._waiting: list[tuple[Claim, str, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._written: dict[str, State] = {}

    @classmethod
    async def open(
        cls, where: Path | str, claims: Claims, *, vectors: Vectors | None = None, enforce: bool = True
    ) -> Self:
        """Open or make it.

        Args:
            where: a folder, or the address of a Chroma server, such as `http://127.0.0.1:8000`.
            claims: the run's.
            vectors: MiniLM when absent.
            enforce: False lets the unchecked be shared, as `Guard` does, to measure what that does.

        Raises:
            RecallError: chromadb is not installed, or there is no memory.

        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="memory")
        try:
            vectors = vectors or await Embedder.load(await asyncio.to_thread(pull, "minilm"))
            loop = asyncio.get_running_loop()
            client, collection = await loop.run_in_executor(thread, _connect, where)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        memory = cls(client, collection, claims, vectors, thread, enforce=enforce)
        await memory._note_written()
        await memory._restore()
        return memory

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Write what waits, and let go."""
        if self._writer is not None:
            await asyncio.wait([self._writer])
        await self._in_thread(functools.partial(_disconnect, self._client))
        self._thread.shutdown()

    async def count(self) -> int:
        """How many memories there are."""
        return int(await self._in_thread(self._collection.count))

    async def put(self, claim: Claim, *, agent: str, shared: bool = False) -> None:
        """Remember `claim`, for `agent` alone or for all; returns when it is written. The guard asks before, not here.

        Raises:
            RecallError: it cannot be written, there are too many, or it is to be shared and does not hold.

        """
        if shared and self.enforce and (not self.claims.known[claim.id].holds or self.claims.taint(claim.id)):
            raise RecallError(f"Claim {claim.id} is not checked, so it is not shared. Have it checked first.")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((claim, _EVERYBODY if shared else agent, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await done
        body = {"claim": claim.id, "agent": agent, "shared": shared, "state": self.claims.known[claim.id].state.value}
        await self.claims.journal.append("memory.put", body, actor=agent)

    async def recall(
        self, question: str, *, agent: str, most: int = 5, states: Sequence[str] = (), within: float = _OPPOSITE
    ) -> Sequence[Claim]:
        """The nearest of what `agent` and all remember, the nearest first.

        Nothing that was found false, and of what others shared nothing that has lost its ground since.

        Args:
            question: what about.
            agent: whose.
            most: how many, up to 20.
            states: only claims of these states; any but refuted when empty.
            within: the cosine distance that none of them exceeds, 0 to 2.

        Raises:
            RecallError: it cannot be read.

        """
        await self._refresh()
        most = min(max(most, 1), _MOST_FOUND)
        vector = (await self._vectors.embed([question[:_LONGEST_QUESTION] or " "])).vectors
        wanted = [State(state).value for state in states or _ANY_STATE]
        where = {"$and": [{"scope": {"$in": [agent, _EVERYBODY]}}, {"state": {"$in": wanted}}]}
        found = await self._in_thread(
            functools.partial(self._collection.query, query_embeddings=vector.tolist(), n_results=2 * most, where=where)
        )
        claims: dict[str, Claim] = {}
        for text, meta in _rows(found, within):
            claim = await self._believed(text, meta)
            if claim is not None and claim.state.value in wanted and self._stands(claim, agent, meta):
                claims.setdefault(claim.id, claim)
        return list(claims.values())[:most]

    def _stands(self, claim: Claim, agent: str, meta: Mapping[str, Any]) -> bool:
        others = claim.author != agent and meta.get("scope") == _EVERYBODY
        return not (others and claim.holds and self.claims.taint(claim.id))

    async def _believed(self, text: Any, meta: Mapping[str, Any]) -> Claim | None:
        """The claim as the journal knows it; as somebody's words where it does not, or where the text was changed."""
        known = self.claims.known.get(str(meta.get("claim")))
        if known is not None and known.text == text:
            return known
        try:
            return await self.claims.make(
                str(text), author=f"memory of {meta.get('author')}"[:200], origin=Origin.EXTERNAL, sources=["memory"]
            )
        except ClaimError:
            return None

    async def _note_written(self) -> None:
        """What a run that is resumed wrote before: it may have been checked since."""
        rows = await self._in_thread(lambda: self._collection.get(include=["metadatas"], limit=self.most))
        for id_, meta in zip(rows["ids"], rows["metadatas"] or (), strict=True):
            if id_.rpartition(":")[2] in self.claims.known and meta:
                self._written[id_] = State(meta.get("state", State.UNVERIFIED))

    async def _restore(self) -> None:
        """Write what the journal says was put and is not there: a fork begins with what its parent knew, and no more."""
        rows: dict[str, tuple[Claim, str]] = {}
        for event in self.claims.journal.events(kinds=("memory.put",)):
            claim = self.claims.known.get(event.body["claim"])
            scope = _EVERYBODY if event.body["shared"] else event.body["agent"]
            if claim is not None and f"{scope}:{claim.id}" not in self._written:
                rows[f"{scope}:{claim.id}"] = (claim, scope)
        for start in range(0, len(rows), _MOST_AT_ONCE):
            await self._write_batch(dict(list(rows.items())[start : start + _MOST_AT_ONCE]))

    async def _refresh(self) -> None:
        """What was checked since it was written gets its new state, so that the filter sees it."""
        changed = [id_ for id_, state in self._written.items() if self._known(id_).state != state]
        for start in range(0, len(changed), _MOST_AT_ONCE):
            ids = changed[start : start + _MOST_AT_ONCE]
            metas = [_meta(self._known(id_), id_.rpartition(":")[0]) for id_ in ids]
            await self._in_thread(functools.partial(self._collection.update, ids=ids, metadatas=metas))
            self._written |= {id_: State(meta["state"]) for id_, meta in zip(ids, metas, strict=True)}

    def _known(self, id_: str) -> Claim:
        return self.claims.known[id_.rpartition(":")[2]]

    async def _write(self) -> None:
        """Gather for a moment, then write what has gathered in one go; until nothing waits."""
        while self._waiting:
            await asyncio.sleep(_GATHER_SECONDS)
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            failure: Exception | None = None
            try:
                await self._write_batch({f"{scope}:{claim.id}": (claim, scope) for claim, scope, _ in batch})
            except Exception as error:  # noqa: BLE001 - told to everybody who waits
                failure = error
            for _, _, done in batch:
                if not done.done():
                    done.set_exception(failure) if failure else done.set_result(None)

    async def _write_batch(self, rows: Mapping[str, tuple[Claim, str]]) -> None:
        if await self.count() + len(rows) > self.most:
            raise RecallError(f"The memory holds {self.most} claims, the most there can be. Start another run.")
        claims = [claim for claim, _ in rows.values()]
        vectors = (await self._vectors.embed([claim.text for claim in claims])).vectors.tolist()
        metas = [_meta(self.claims.known.get(claim.id, claim), scope) for claim, scope in rows.values()]
        await self._in_thread(
            lambda: self._collection.upsert(
                ids=list(rows), embeddings=vectors, documents=[claim.text for claim in claims], metadatas=metas
            )
        )
        self._written |= {id_: State(meta["state"]) for id_, meta in zip(rows, metas, strict=True)}

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Chroma blocks, and its objects stay in their thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:
            if "shutdown" in str(error):
                raise RecallError("The memory is closed.") from error
            raise RecallError(f"The memory could not be used: {error}.") from error
        except Exception as error:
            raise RecallError(f"The memory could not be used: {str(error)[:300]}.") from error


def _rows(found: Any, within: float) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """What a query found, from a server that may be anybody's."""
    try:
        rows = list(zip(found["documents"][0], found["metadatas"][0], found["distances"][0], strict=True))
        near = [(text, meta) for text, meta, distance in rows if float(distance) <= within]
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise RecallError("The memory's server answered something else than memories. Check its address.") from error
    return [(text, meta) for text, meta in near if isinstance(text, str) and isinstance(meta, Mapping)]


def _meta(claim: Claim, scope: str) -> dict[str, Any]:
    return {
        "claim": claim.id, "scope": scope, "state": claim.state.value, "origin": claim.origin.value,
        "author": claim.author, "model": claim.model, "sources": json.dumps(list(claim.sources)),
    }  # fmt: skip


def _disconnect(client: Any) -> None:
    sessions = _sessions(client)
    client.close()
    for session in sessions:
        session.close()  # 1.5 leaves its connections open


def _sessions(client: Any) -> list[Any]:
    """The HTTP clients of a server's client; none of a folder's."""
    servers = [getattr(each, "_server", None) for each in (client, getattr(client, "_admin_client", None))]
    return [server._session for server in servers if server is not None and hasattr(server, "_session")]  # noqa: SLF001 - no public way


def _connect(where: Path | str) -> tuple[Any, Any]:
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
    try:
        chromadb = importlib.import_module("chromadb")
        settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False, allow_reset=False)
    except ImportError as error:
        raise RecallError("Memory needs the extra 'swarm'. Run: pip install 'tercet[swarm]'.") from error
    try:
        if isinstance(where, str) and "://" in where:
            address = urlsplit(where)
            if address.scheme not in {"http", "https"} or not address.hostname:
                raise RecallError(f"{where!r} is no address of a Chroma server. Write http://HOST:PORT, or a folder.")
            client = chromadb.HttpClient(
                host=address.hostname, port=address.port or 8000, ssl=address.scheme == "https", settings=settings
            )
            for session in _sessions(client):
                session.timeout = _SERVER_SECONDS  # waits for ever by default
        else:
            path = Path(where)
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            client = chromadb.PersistentClient(path=str(path), settings=settings)
        # Without an embedding function of its own: the default one fetches a model.
        collection = client.get_or_create_collection(
            COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
    except RecallError:
        raise
    except Exception as error:
        raise RecallError(
            f"There is no memory at {where}: {str(error)[:300]}. Start the server (chroma run), or name a folder."
        ) from error
    return client, collection
