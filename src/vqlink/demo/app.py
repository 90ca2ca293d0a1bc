"""The page's server: uploads in, events out, nothing on the disk, nothing from elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vqlink.demo import jobs
from vqlink.demo.engine import BusyError, Engine, Job
from vqlink.demo.inputs import picture_upload, recording_upload, sample_upload
from vqlink.demo.requests import MAX_TEXT, PictureRequest, RecordingRequest, TextRequest
from vqlink.demo.uploads import Upload, Uploads
from vqlink.errors import VqlinkError, one_line
from vqlink.sources.images import SAMPLES

PAGE = Path(__file__).parent / "page"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_READING, _UPLOAD_SECONDS = 8, 60.0  # uploads under way at once, and the longest of one
_DECODING = 2  # files at once: a small one may unpack to hundreds of megabytes
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for.

    Attributes:
        upload_bytes: most bytes of an uploaded file.
        body_bytes: most bytes of any other request.
        jobs: most unfinished jobs of all visitors together.
    """

    upload_bytes: int = 16_000_000
    body_bytes: int = 64_000
    jobs: int = 64


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def create_app(*, limits: Limits | None = None, hosts: Sequence[str] = LOCAL_HOSTS) -> FastAPI:
    """The application, for any ASGI server.

    Args:
        limits: None for the defaults.
        hosts: names that the page may be asked for by; others are refused, which keeps foreign
            pages from reaching a server on this machine by a name of their own.
    """
    limits = limits or Limits()
    engine, uploads = Engine(waiting=limits.jobs), Uploads()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(engine.close)
        uploads.clear()

    app = FastAPI(
        title="vqlink", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts], www_redirect=False)
    _guard(app, limits)
    _answer_mistakes(app)
    _add_page(app)
    _add_uploads(app, uploads, limits)
    _add_starts(app, engine, uploads)
    _add_jobs(app, engine)
    return app


def _guard(app: FastAPI, limits: Limits) -> None:
    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        origin = request.headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != request.headers.get("host")
        length = request.headers.get("content-length", "0")
        longest = limits.body_bytes if request.url.path != "/api/uploads" else limits.upload_bytes
        if foreign or request.headers.get("sec-fetch-site", "same-origin") == "cross-site":
            response = _refusal(403, "this page answers only to itself")
        elif "transfer-encoding" in request.headers and request.url.path != "/api/uploads":
            response = _refusal(411, "say how long the request is")
        elif not length.isdigit() or int(length) > longest:
            response = _refusal(413, f"too large: at most {longest / 1e6:g} MB")
        else:
            response = await call_next(request)
        response.headers.update(_HEADERS)
        return response


def _answer_mistakes(app: FastAPI) -> None:
    @app.exception_handler(_RefusedError)
    async def refused(_: Request, refusal: _RefusedError) -> Response:
        return _refusal(refusal.status, refusal.reason)

    @app.exception_handler(VqlinkError)
    async def mistaken(_: Request, mistake: VqlinkError) -> Response:
        return _refusal(429 if isinstance(mistake, BusyError) else 400, one_line(mistake, 300))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return _refusal(422, one_line(f"{where}: {first['msg']}" if where else first["msg"]))


def _add_page(app: FastAPI) -> None:
    names = {path.name for path in PAGE.iterdir()}

    @app.get("/")
    async def index() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/page/{name}")
    async def part(name: str) -> FileResponse:
        if name not in names:
            raise _RefusedError(404, "there is no such file")
        return FileResponse(PAGE / name)

    @app.get("/api/about")
    async def about() -> dict[str, Any]:
        from importlib.metadata import version

        return {"version": version("vqlink"), "samples": list(SAMPLES), "max_text": MAX_TEXT}


def _add_uploads(app: FastAPI, uploads: Uploads, limits: Limits) -> None:
    reading, decoding = asyncio.Semaphore(_READING), asyncio.Semaphore(_DECODING)

    def describe(upload: Upload) -> dict[str, Any]:
        token = uploads.add(upload)
        return {
            "upload": token,
            "kind": upload.kind,
            "name": upload.name,
            "notes": list(upload.notes),
            "media": f"/api/uploads/{token}?kind={upload.kind}",
        }

    @app.post("/api/uploads")
    async def take(request: Request, kind: str, name: str = "your file") -> dict[str, Any]:
        async with reading:
            data = await _body(request, limits.upload_bytes)
        make = {"picture": picture_upload, "recording": recording_upload}.get(kind)
        if make is None:
            raise _RefusedError(422, "kind is picture or recording")
        async with decoding:
            return describe(await run_in_threadpool(make, data, one_line(name, 60)))

    @app.post("/api/samples/{name}")
    async def sample(name: str) -> dict[str, Any]:
        return describe(await run_in_threadpool(sample_upload, one_line(name, 60)))

    @app.get("/api/uploads/{token}")
    async def media(token: str, kind: str = "picture") -> Response:
        media_type, data = uploads.find(token, kind).media
        return Response(data, media_type=media_type)


async def _body(request: Request, most: int) -> bytes:
    data = bytearray()
    try:
        async with asyncio.timeout(_UPLOAD_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > most:
                    raise _RefusedError(413, f"too large: at most {most / 1e6:g} MB")
    except TimeoutError:
        raise _RefusedError(408, f"not here after {_UPLOAD_SECONDS:g} s: send it again") from None
    return bytes(data)


def _add_starts(app: FastAPI, engine: Engine, uploads: Uploads) -> None:
    @app.post("/api/pictures")
    async def picture(request: PictureRequest) -> dict[str, str]:
        upload = uploads.find(request.upload, "picture")
        return {"job": engine.start(jobs.picture_steps(request, upload)).token}

    @app.post("/api/pictures/curve")
    async def picture_curve(request: PictureRequest) -> dict[str, str]:
        upload = uploads.find(request.upload, "picture")
        return {"job": engine.start(jobs.picture_curve(request, upload)).token}

    @app.post("/api/recordings")
    async def recording(request: RecordingRequest) -> dict[str, str]:
        upload = uploads.find(request.upload, "recording")
        return {"job": engine.start(jobs.recording_steps(request, upload)).token}

    @app.post("/api/texts")
    async def text(request: TextRequest) -> dict[str, str]:
        return {"job": engine.start(jobs.text_steps(request)).token}

    @app.post("/api/texts/curve")
    async def text_curve(request: TextRequest) -> dict[str, str]:
        return {"job": engine.start(jobs.text_curve(request)).token}


def _add_jobs(app: FastAPI, engine: Engine) -> None:
    def find(token: str) -> Job:
        job = engine.find(token)
        if job is None:
            raise _RefusedError(404, "this job is no longer here: send again")
        return job

    # A dependency: an unknown job is refused before the stream begins.
    found_job = Annotated[Job, Depends(find)]

    @app.get("/api/jobs/{token}/events", response_class=EventSourceResponse)
    async def events(
        job: found_job, last_event_id: Annotated[int, Header(ge=0)] = 0
    ) -> AsyncIterator[ServerSentEvent]:
        async for number, event in job.follow(last_event_id):
            yield ServerSentEvent(data=event.data, event=event.kind, id=str(number))

    @app.delete("/api/jobs/{token}")
    async def cancel(job: found_job) -> dict[str, str]:
        job.cancel()
        return {"job": job.token}

    @app.get("/api/jobs/{token}/rows.jsonl")
    async def rows(job: found_job) -> Response:
        headers = {"Content-Disposition": "attachment; filename=vqlink-rows.jsonl"}
        return PlainTextResponse(job.rows(), headers=headers)

    @app.get("/api/jobs/{token}/files/{name}")
    async def file(job: found_job, name: str) -> Response:
        found = job.file(name)
        if found is None:
            raise _RefusedError(404, "there is no such file")
        return Response(found[1], media_type=found[0])


def _refusal(status: int, reason: str) -> JSONResponse:
    headers = {"Retry-After": "3"} if status == 429 else None
    return JSONResponse({"error": reason}, status_code=status, headers=headers)
