"""The addresses of the server, and what each does."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException

import sovits
from sovits.errors import ServerError, SovitsError
from sovits.library import Listed
from sovits.web.gate import Gate, refusal
from sovits.web.runner import Runner, Worker
from sovits.web.schema import (
    HEART,
    JOB,
    Health,
    JobEntry,
    Problem,
    VoiceCard,
    VoiceEntry,
    convert_form,
)
from sovits.web.settings import ServerSettings
from sovits.web.store import ENDED, Job, Store
from sovits.web.upload import Uploads, digest
from sovits.web.voices import card_of, plain, voices
from sovits.web.work import LOG

SESSION = "sovits_session"
"""Cookie by which the jobs of one person are known."""
LOOK_SECONDS = 0.1
"""How often a job is looked at for those who wait for it."""
BEAT_SECONDS = 15.0
"""How often those who listen hear something, so that nobody hangs up."""
LONGEST_WAIT = 600.0
"""How long a request may wait for its job (s)."""
_SESSION = re.compile(r"[A-Za-z0-9_-]{43}")
_WAV: dict[str, Any] = {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}
_EVENT = f"event: progress\ndata: {json.dumps(JOB)}\n\n"
_EVENTS: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENT}}
_WORDS: dict[str, Any] = {"schema": {"type": "string"}, "example": "04:05:06 Converting 3.0 s.\n"}
_REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "What is wrong, in one line."}
}

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=[JOB["id"]])]
VoiceId = Annotated[str, Path(max_length=64, examples=[HEART["id"]])]
Wait = Annotated[
    float | None,
    Query(ge=0, le=LONGEST_WAIT, description="Answer with the sound, if it is there in time (s)."),
]


def create_app(settings: ServerSettings, worker: Worker | None = None) -> FastAPI:
    """Return the server as an ASGI application, which works as long as its lifespan lasts.

    Args:
        settings: How it is set up.
        worker: What converts; a process if not given.

    Raises:
        ServerError: The folder for its jobs cannot be used.
    """
    store = Store(settings.folder)
    runner, uploads = Runner(store, settings, worker), Uploads(store, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        runner.start()
        try:
            yield
        finally:
            await asyncio.to_thread(runner.stop)
            store.close()

    app = FastAPI(
        title="sovits",
        summary="Sing or say sounds in another voice.",
        version=sovits.__version__,
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses=_REFUSED,
    )
    _answer_errors(app)

    def entry(job: Job) -> JobEntry:
        shown = {name: getattr(job, name) for name in JobEntry.model_fields if name != "progress"}
        return JobEntry(**shown, progress=runner.progress(job))

    def result(job: Job) -> FileResponse:
        if job.state == "failed":
            raise ServerError.job_failed(job.error or "")
        if job.state != "done":
            raise ServerError.no_result(job.state)
        stem = job.name.rpartition(".")[0] or job.name
        return FileResponse(
            store.path(job.id, "result.wav"),
            media_type="audio/wav",
            filename=f"{stem}.out.wav",
            headers={"X-Job": job.id},
        )

    async def changes(name: str) -> AsyncIterator[JobEntry | None]:
        """Yield a job whenever it has changed, until it has ended; None for each beat."""
        last, heard = None, time.monotonic()
        while not runner.stopping:
            try:
                now = entry(store.get(name))
            except ServerError:  # it was deleted
                return
            if now != last:
                last, heard = now, time.monotonic()
                yield now
            elif time.monotonic() - heard > BEAT_SECONDS:
                heard = time.monotonic()
                yield None
            if now.state in ENDED:
                return
            await asyncio.sleep(LOOK_SECONDS)

    @app.get("/healthz", summary="Whether the server is there", tags=["server"])
    def health() -> Health:
        return Health(status="ok", version=sovits.__version__)

    @app.get("/v1/voices", summary="The voices at hand, the default first", tags=["voices"])
    def list_all() -> list[VoiceEntry]:
        return [VoiceEntry(**_told(name, voice)) for name, voice in voices().items()]

    @app.get("/v1/voices/{voice}", summary="What a voice is", tags=["voices"])
    def card(voice: VoiceId) -> VoiceCard:
        known = voices()
        if voice not in known:
            raise ServerError.no_voice(known)
        return VoiceCard(**_told(voice, known[voice]), card=card_of(known[voice]))

    @app.post(
        "/v1/convert",
        summary="Convert a sound",
        description="Answers with a job, or with the sound itself if `wait` is given and it is "
        "there in time.",
        tags=["jobs"],
        status_code=202,
        response_model=JobEntry,
        responses={
            200: {"content": _WAV, "description": "The sound; the header X-Job names the job."},
            202: {"description": "The job, which waits or is under way."},
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"multipart/form-data": {"schema": convert_form()}},
            }
        },
    )
    async def convert(request: Request, response: Response, wait: Wait = None) -> Any:
        session = _session(request)
        client = request.client.host if request.client else ""
        mine = session or secrets.token_urlsafe(32)
        job = await uploads.take(request, mine, session or client)
        runner.wake()
        answer: Response = response
        if wait is not None:
            try:
                async with asyncio.timeout(wait):
                    async for _ in changes(job.id):
                        pass
            except TimeoutError:
                pass
            job = store.get(job.id)
            if job.state in ENDED:
                answer = result(job)
        if session is None:
            answer.set_cookie(SESSION, mine, httponly=True, samesite="strict")
        return answer if answer is not response else entry(job)

    @app.get("/v1/jobs", summary="The jobs of this session, the newest first", tags=["jobs"])
    def jobs(request: Request) -> list[JobEntry]:
        session = _session(request)
        return [entry(job) for job in store.of(digest(session))] if session else []

    @app.get("/v1/jobs/{job}", summary="How far a job is", tags=["jobs"])
    def state(job: JobId) -> JobEntry:
        return entry(store.get(job))

    @app.get(
        "/v1/jobs/{job}/events",
        summary="How far a job is, whenever that changes, until it has ended",
        tags=["jobs"],
        response_class=StreamingResponse,
        responses={200: {"content": _EVENTS, "description": "Events progress, and then end."}},
    )
    async def events(job: JobId) -> StreamingResponse:
        store.get(job)

        async def lines() -> AsyncIterator[str]:
            async for now in changes(job):
                if now is None:
                    yield ": waiting\n\n"
                    continue
                kind = "end" if now.state in ENDED else "progress"
                yield f"event: {kind}\ndata: {now.model_dump_json()}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    @app.get(
        "/v1/jobs/{job}/log",
        summary="What there was to say about a job",
        tags=["jobs"],
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": _WORDS}, "description": "Lines with times."}},
    )
    def log(job: JobId) -> PlainTextResponse:
        path = store.path(store.get(job).id, LOG)
        text = path.read_text("utf-8") if path.is_file() else ""
        return PlainTextResponse("".join(f"{plain(line)}\n" for line in text.splitlines()))

    @app.get(
        "/v1/jobs/{job}/result",
        summary="The sound that a job has made",
        tags=["jobs"],
        response_class=FileResponse,
        responses={200: {"content": _WAV, "description": "The sound."}},
    )
    def made(job: JobId) -> FileResponse:
        return result(store.get(job))

    @app.post("/v1/jobs/{job}/cancel", summary="Let a job be", tags=["jobs"])
    def cancel(job: JobId) -> JobEntry:
        runner.cancel(job)
        return entry(store.get(job))

    @app.delete("/v1/jobs/{job}", summary="Forget a job, and all of it", tags=["jobs"])
    def delete(job: JobId) -> JobEntry:
        runner.cancel(job)
        gone = entry(store.get(job))
        store.remove(job)
        return gone

    app.add_middleware(Gate, settings=settings)
    return app


def _session(request: Request) -> str | None:
    """Return the session of a request, if it has one that cannot be guessed."""
    found = request.cookies.get(SESSION, "")
    return found if _SESSION.fullmatch(found) else None


def _told(name: str, voice: Listed) -> dict[str, Any]:
    """Return what is told of a voice; where it is, is not."""
    table = voice.to_json()
    shown = {key: table[key] for key in VoiceEntry.model_fields if key not in ("id", "name")}
    problem = None if voice.problem is None else plain(voice.problem, voice.path.parent)
    return shown | {"id": name, "name": voice.title, "problem": problem}


def _answer_errors(app: FastAPI) -> None:
    """Let every error be one line."""

    @app.exception_handler(SovitsError)
    async def ours(_: Request, error: SovitsError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return refusal(ServerError.not_understood(str(first["loc"][-1]), str(first["msg"])))

    @app.exception_handler(HTTPException)
    async def nothing(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(ServerError.nothing_here(error.status_code))

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        return refusal(ServerError.failed())
