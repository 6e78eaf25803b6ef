"""The local page that scores a visitor's clip: one at a time, nothing is kept, nothing sent anywhere."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive

from apt_lightning.common.errors import AptError, ClipError
from apt_lightning.common.names import name_form
from apt_lightning.data.collection.formats import SUFFIXES
from apt_lightning.data.faults import FAULTS
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.preparation.share import extracting, in_time
from apt_lightning.experiments.clips.page import Card, card, render
from apt_lightning.experiments.clips.picture import NOTICE
from apt_lightning.stages.scorer import Scorer

LOOPBACK = ("127.0.0.1", "::1", "localhost")
COOKIE = "apt_token"
JSON_PATH = "/api/score"
_TEXT = 1 << 16
"""Bytes of a field that is no file."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with none, browsers send forms with the origin `null`
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for."""

    megabytes: int = 200
    """Size of an upload."""
    seconds: float = 120.0
    """Time to take a clip apart, and to upload it."""
    visitors: int = 8
    """Uploads that are received, waiting or scored at once; one is scored at a time."""


Transcribe = Callable[[str], str | None]
"""Words of the clip at a path; None if it cannot be read."""


class Service:
    """Scores uploads one after another.

    Args:
        scorer: A trained model.
        limits: What a visitor may ask for.
        token: What a visitor must know; nothing if not given.
        transcribe: Writes down what is said in clips that come without words.
    """

    def __init__(
        self, scorer: Scorer, limits: Limits, token: str | None = None, transcribe: Transcribe | None = None
    ) -> None:
        self.scorer = scorer
        self.limits = limits
        self.token = token
        self.transcribe = transcribe
        self._visitors = 0

    def application(self) -> Starlette:
        """The web application; uploads lie in a folder that ends with it."""
        hosts = [*LOOPBACK, "[::1]"] if self.token is None else ["*"]  # else a page elsewhere could rebind its name
        return Starlette(
            routes=[
                Route("/", self._show, methods=["GET"]),
                Route("/", self._page, methods=["POST"]),
                Route(JSON_PATH, self._json, methods=["POST"]),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
            exception_handlers={HTTPException: self._refuse, Exception: self._fail},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._turn = asyncio.Lock()
        with TemporaryDirectory(prefix="apt-serve-") as folder:
            self.folder = Path(folder)
            yield

    async def _show(self, request: Request) -> Response:
        given = request.query_params.get("token")
        if given is not None and self._knows(given):
            response: Response = RedirectResponse("/", 303, _HEADERS)
            response.set_cookie(COOKIE, given, httponly=True, samesite="strict")
            return response
        self._admit(request)
        return self._html([])

    async def _page(self, request: Request) -> Response:
        told, clip = await self._score(request)
        training = self.scorer.training_clips
        made = await asyncio.to_thread(card, told, clip, None if training is None else training.ratings)
        return self._html([made], 422 if made.error else 200)

    async def _json(self, request: Request) -> Response:
        told, _ = await self._score(request)
        return JSONResponse(told | {"notice": NOTICE}, 422 if "error" in told else 200, _HEADERS)

    def _html(self, cards: list[Card], status: int = 200) -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'nonce-{nonce}';"
            " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        values = {"nonce": nonce, "limits": self.limits, "transcribes": self.transcribe is not None}
        page = render(cards, "serve.html", **values)
        return HTMLResponse(page, status, _HEADERS | {"Content-Security-Policy": policy})

    def _knows(self, given: str) -> bool:
        return self.token is None or hmac.compare_digest(given.encode(), self.token.encode())

    def _admit(self, request: Request) -> None:
        """Let in who knows the token, and no form of another site."""
        given = request.cookies.get(COOKIE) or request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._knows(given):
            raise HTTPException(401, "open the address with the token that `apt serve` printed")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            raise HTTPException(403, "the form of another site is not answered")

    async def _score(self, request: Request) -> tuple[dict[str, Any], Extraction | None]:
        self._admit(request)
        if self._visitors >= self.limits.visitors:
            raise HTTPException(503, "many visitors are waiting; try again in a minute", {"Retry-After": "60"})
        self._visitors += 1
        try:
            return await self._receive(request)
        finally:
            self._visitors -= 1

    async def _receive(self, request: Request) -> tuple[dict[str, Any], Extraction | None]:
        bounded = Request(request.scope, _bounded(request.receive, self.limits.megabytes << 20))
        try:
            async with asyncio.timeout(self.limits.seconds):
                form = await bounded.form(max_files=1, max_fields=4, max_part_size=_TEXT)
        except TimeoutError:
            raise HTTPException(408, f"the upload took longer than {self.limits.seconds:g} s") from None
        try:
            upload, words = form.get("clip"), form.get("transcript")
            if not isinstance(upload, UploadFile) or not upload.filename:
                raise HTTPException(400, "no clip was sent; choose or record one")
            async with self._turn:
                return await asyncio.to_thread(self._judge, upload, words if isinstance(words, str) else "")
        finally:
            await form.close()

    def _judge(self, upload: UploadFile, words: str) -> tuple[dict[str, Any], Extraction | None]:
        name = name_form((upload.filename or "").replace("\\", "/").rpartition("/")[2])[:200]
        suffix = Path(name).suffix.lower()
        path = self.folder / f"{secrets.token_hex(8)}{suffix if suffix in SUFFIXES else ''}"
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(upload.file, file, 1 << 20)
            heard = None
            if not words.strip() and self.transcribe is not None:
                words = heard = self.transcribe(str(path)) or ""
            options = replace(in_time(None, explain=True), seconds=self.limits.seconds, workers=1)
            with extracting([path], options) as results:
                found = next(results)
            told = self.scorer.judge(path, found, words.strip() or None, explain=True) | {"clip": name}
            if heard is not None:
                told["transcribed"] = {"text": heard}
                told["notes"].append(f"the machine {f'found the words: {heard}' if heard else 'hears no speech'}")
            return told, found.extraction
        except ClipError as error:
            why = str(error).removeprefix(f"{path.name}: ").replace(str(path), name)
            sentence = FAULTS[error.code].sentence
            return {"clip": name, "error": f"{error.code}: {sentence}{'' if why == sentence else f' ({why})'}"}, None
        except AptError as error:
            return {"clip": name, "error": str(error)}, None
        finally:
            path.unlink(missing_ok=True)

    def _refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if request.url.path == JSON_PATH:
            return JSONResponse({"error": error.detail}, error.status_code, {**_HEADERS, **(error.headers or {})})
        response = self._html([Card("Your clip", error.detail, [], [], "", "")], error.status_code)
        response.headers.update(error.headers or {})
        return response

    def _fail(self, request: Request, error: Exception) -> Response:
        return self._refuse(request, HTTPException(500, f"the program failed ({type(error).__name__})"))


def _bounded(receive: Receive, most: int) -> Receive:
    """Pass on a request's body up to a size."""
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise HTTPException(413, f"the clip is larger than {most >> 20} MB; cut it")
        return message

    return bounded
