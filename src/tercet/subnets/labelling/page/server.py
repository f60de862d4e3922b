"""The page's HTTP: one document, its script and style, and five calls in JSON. No rules of its own.

Bound to this machine unless told otherwise; then people need the invitation that is printed. Who is who is told by a
token in a header of its own, which no other site can make a browser send. Nothing is loaded from anywhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from aiohttp import web
from jinja2 import Environment, select_autoescape

from tercet.errors import SubnetError, TercetError, UsageError
from tercet.market import CREDIT
from tercet.market.text import decode_json
from tercet.subnets.labelling.page.shift import Job, Person, Shift, Shown
from tercet.subnets.labelling.pictures import encode_png, media_type

__all__ = ["PageServer"]

TOKEN = "X-Tercet-Worker"  # noqa: S105 - the name of a header
_MAX_BODY = 4 << 10
_WAIT_SECONDS = 20.0
"""How long a page without work is kept waiting for some."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_STATIC = {"label.js": "text/javascript", "label.css": "text/css", "label.svg": "image/svg+xml"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """Serves one shift."""

    def __init__(self, shift: Shift, rate: int, least: int = 0) -> None:
        """Nothing listens yet. `rate` is shown, and `least` that a new miner has: credit units an hour."""
        self._shift, self._rate = shift, rate
        self._runner: web.AppRunner | None = None
        self._invitation = ""
        self._hosts: frozenset[str] | None = None
        self._news = asyncio.Event()
        folder = files(__package__)
        self._static = {name: (folder / name).read_text() for name in _STATIC}
        page = Environment(autoescape=select_autoescape(default=True)).from_string(
            (folder / "label.html.j2").read_text()
        )
        self._page = page.render(rate=_credit(rate), least=_credit(least) if 0 < least < rate else "")

    async def start(self, host: str, port: int) -> str:
        """Listen; the address to open. Raises `SubnetError` when that cannot be."""
        app = web.Application(middlewares=[self._guard], client_max_size=_MAX_BODY)
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/{name:label\\.(?:js|css|svg)}", self._file),
                web.get("/picture/{key}", self._picture),
                web.post("/api/join", self._join),
                web.get("/api/next", self._next),
                web.post("/api/answer", self._answer),
                web.post("/api/undo", self._undo),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self.stop()
            raise SubnetError(
                f"The page cannot listen on {host}:{port}: {error.strerror or error}. Choose another: -o page=PORT."
            ) from error
        taken = self._runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        if _is_loopback(host):
            self._hosts = frozenset(f"{name}:{taken}" for name in ("127.0.0.1", "localhost", "[::1]", shown))
            return f"http://{shown}:{taken}/"
        self._invitation = secrets.token_urlsafe(12)
        return f"http://{shown}:{taken}/#{self._invitation}"

    async def stop(self) -> None:
        """Hang up."""
        self.wake()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def wake(self) -> None:
        """Something has changed: pages that wait for work look again, and so does whoever waits for a batch."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def changed(self, job: Job, seconds: float) -> bool:
        """Wait for something to change in `job`; False when `seconds` went by first and it is still open."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while job.open:
            try:
                async with asyncio.timeout_at(ends):
                    await self._news.wait()
            except TimeoutError:
                return False
        return True

    # HTTP

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Only under our own name, in bounded words, and with strict headers on everything that leaves."""
        if self._hosts is not None and request.host not in self._hosts:
            response: web.StreamResponse = _problem(421, "This page is not served under that name.")
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = _problem(error.status, error.reason)
            except TercetError as error:
                response = _problem(409 if isinstance(error, UsageError) else 503, str(error))
        response.headers.update(_HEADERS)
        return response

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.Response(text=self._static[name], content_type=_STATIC[name])

    async def _picture(self, request: web.Request) -> web.Response:
        item = self._shift.picture(request.match_info["key"])
        if item is None or item.kind == "text":
            raise web.HTTPNotFound
        if item.kind == "gray":
            return web.Response(body=encode_png(item.data, item.width), content_type="image/png")
        return web.Response(body=item.data, content_type=media_type(item.data))

    async def _join(self, request: web.Request) -> web.Response:
        body = await _read(request)
        name, invitation = body.get("name"), body.get("invitation")
        given = invitation.encode() if isinstance(invitation, str) else b""
        if self._invitation and not secrets.compare_digest(given, self._invitation.encode()):
            raise web.HTTPForbidden(reason="Open the link that you were given: it has the invitation in it.")
        person = self._shift.join(name if isinstance(name, str) else "")
        return web.json_response({"token": person.token, "name": person.name})

    async def _next(self, request: web.Request) -> web.Response:
        """What to look at now; waits a while when there is nothing."""
        person = self._person(request)
        loop = asyncio.get_running_loop()
        ends = loop.time() + (_WAIT_SECONDS if "wait" in request.query else 0.0)
        while self._shift.show(person) is None and loop.time() < ends and self._runner is not None:
            try:
                async with asyncio.timeout_at(ends):
                    await self._news.wait()
            except TimeoutError:
                break
        return self._state(person)

    async def _answer(self, request: web.Request) -> web.Response:
        person, body = self._person(request), await _read(request)
        key, label = body.get("key"), body.get("label")
        if not isinstance(key, str) or not (label is None or type(label) is int):
            raise web.HTTPBadRequest(reason="An answer has a key, and the number of a label or null.")
        feedback = self._shift.answer(person, key, label, sure=body.get("sure") is not False)
        self.wake()
        return self._state(person, feedback)

    async def _undo(self, request: web.Request) -> web.Response:
        person = self._person(request)
        undone = self._shift.take_back(person)
        self.wake()
        return self._state(person, undone=undone)

    def _person(self, request: web.Request) -> Person:
        person = self._shift.person(request.headers.get(TOKEN, "")[:64])
        if person is None:
            raise web.HTTPUnauthorized(reason="Come in first.")
        return person

    def _state(self, person: Person, feedback: tuple[bool, str] | None = None, **more: Any) -> web.Response:
        """Everything that the page shows, in one object."""
        shown = self._shift.show(person)
        state: dict[str, Any] = {
            "item": None if shown is None else _item(shown),
            "left": self._shift.left(),
            "labelled": person.labelled,
            "earned": _credit(round(person.earned)),
            "pace": _credit(self._shift.pace(person)) if person.labelled else "",
            "trained": person.trained,
            "trained_right": person.trained_right,
            "can_undo": bool(person.undo),
        }
        if feedback is not None:
            state["feedback"] = {"right": feedback[0], "label": feedback[1]}
        return web.json_response(state | more)


def _item(shown: Shown) -> dict[str, Any]:
    view: dict[str, Any] = {
        "key": shown.key,
        "question": shown.question,
        "labels": list(shown.labels),
        "training": shown.job is None,
    }
    if shown.item.kind == "text":
        return view | {"text": shown.item.data.decode()}
    return view | {"picture": f"/picture/{shown.key}", "pixels": shown.item.kind == "gray"}


async def _read(request: web.Request) -> dict[str, Any]:
    """A small JSON object."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="Send JSON.")
    body = decode_json(await request.read())
    if body is None:
        raise web.HTTPBadRequest(reason="This is no JSON.")
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(reason="Send an object.")
    return body


def _problem(status: int, words: str) -> web.Response:
    return web.json_response({"error": words}, status=status)


def _credit(units: int) -> str:
    """For people: to the cent, rounded down."""
    cents = units * 100 // 10**CREDIT.decimals
    return f"{cents // 100}.{cents % 100:02}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
