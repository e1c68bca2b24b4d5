"""The HTTP side: which path does what, who may use it, and how a mistake is answered."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from course.engine.server.ask import read_ask
from course.engine.server.bridge import Bridge, unable
from course.engine.server.errors import RequestError
from course.engine.server.exchange import Exchange, Send
from course.engine.server.fields import read_object
from course.engine.server.jobs import JobMaker
from course.engine.server.limits import Admission, GoneError, Limits, Message, Receive, read_body
from course.engine.server.measures import Measures
from course.engine.server.shapes import ChatShape, Shape
from course.engine.server.standing import standing
from course.model.loading import Model

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Service:
    """What all requests share. ``name`` is what clients call the model."""

    name: str
    model: Model
    bridge: Bridge
    jobs: JobMaker
    limits: Limits = field(default_factory=Limits)
    admission: Admission = field(init=False)
    measures: Measures = field(init=False)
    started: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.admission = Admission(self.limits)
        self.measures = Measures(self.name)


def make_app(service: Service, api_key: str | None = None) -> Starlette:
    """The application; with a key, only who shows it gets further than /health."""

    def count(error: RequestError) -> RequestError:
        service.measures.on_rejection(error.status)
        return error

    async def on_request_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return refusal(count(error))

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(count(no_such_path(request, error)))

    async def on_bug(request: Request, error: Exception) -> Response:
        return refusal(RequestError("something went wrong in the server; its log says what", status=500))

    return Starlette(
        routes=[
            Route("/v1/completions", Generation(service, is_chat=False), methods=["POST"]),
            Route("/v1/chat/completions", Generation(service, is_chat=True), methods=["POST"]),
            Route("/v1/models", Models(service).all),
            Route("/v1/models/{name:path}", Models(service).one),
            Route("/health", Health(service).answer),
            Route("/metrics", Health(service).metrics),
        ],
        middleware=[Middleware(KeyCheck, api_key=api_key)] if api_key else [],
        exception_handlers={RequestError: on_request_error, HTTPException: on_http_error, Exception: on_bug},
    )


class Generation:
    """POST /v1/completions and /v1/chat/completions."""

    def __init__(self, service: Service, *, is_chat: bool) -> None:
        self._service = service
        self._is_chat = is_chat

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Read the request, let it in, answer it."""
        arrival_s = time.perf_counter()
        service = self._service
        try:
            values = read_object(await read_body(receive, service.limits))
            ask = read_ask(values, service.name, service.limits.max_answers, is_chat=self._is_chat)
            jobs = (service.jobs.chat if self._is_chat else service.jobs.completion)(values, ask)
            shape = (ChatShape if self._is_chat else Shape)(service.name)
            exchange = Exchange(service, ask, jobs, shape, arrival_s)
            with service.admission.of(len(jobs) * ask.n):
                await exchange.run(receive, send, scope["state"]["abort"])
        except GoneError:
            await send_nothing(send)


class Models:
    """GET /v1/models: the one that is served."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def all(self, request: Request) -> Response:
        """A list with one entry."""
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def one(self, request: Request) -> Response:
        """That entry, by its name."""
        if (name := request.path_params["name"]) != self._service.name:
            message = f"the model {name[:100]!r} does not exist; this server has {self._service.name!r}"
            raise RequestError(message, status=404, code="model_not_found")
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        """As OpenAI's, with vLLM's ``max_model_len``; ``vocab_size`` is for clients that send token ids."""
        return {
            "id": self._service.name,
            "object": "model",
            "created": self._service.started,
            "owned_by": "course",
            "max_model_len": self._service.jobs.max_tokens,
            "vocab_size": self._service.model.config.vocab_size,
        }


class Health:
    """GET /health and /metrics: how the server is."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        """200 while requests can be answered, else 503 with the reason."""
        why = self._service.bridge.trouble
        return refusal(unable(why)) if why else Response()

    async def metrics(self, request: Request) -> Response:
        """Metrics as Prometheus reads them."""
        bridge = self._service.bridge
        gauges, counters = await bridge.ask(lambda: standing(bridge.engine))
        counters["num_preemptions"] = bridge.num_preemptions
        return Response(self._service.measures.page(gauges, counters), media_type=METRICS_TYPE)


class KeyCheck:
    """Lets in who shows the key, ``Authorization: Bearer KEY``; /health is open."""

    def __init__(self, app: Any, api_key: str) -> None:
        self._app = app
        self._wanted = f"Bearer {api_key}".encode()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Look at the header before anything else is done."""
        if scope["type"] == "http" and scope["path"] != "/health":
            shown = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(shown, self._wanted):
                message = "this server wants its API key: Authorization: Bearer KEY"
                error = RequestError(
                    message, status=401, code="invalid_api_key", headers={"www-authenticate": "Bearer"}
                )
                await refusal(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def refusal(error: RequestError) -> Response:
    """An error as a response."""
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


def no_such_path(request: Request, error: HTTPException) -> RequestError:
    """What to say to who asks for what is not here."""
    here = "/v1/completions, /v1/chat/completions, /v1/models, /health and /metrics"
    message = f"there is no {request.method} {request.url.path[:100]} here; there are {here}"
    return RequestError(message, status=error.status_code, headers=dict(error.headers or {}))


async def send_nothing(send: Send) -> None:
    """End the exchange with a client that has left."""
    start: Message = {"type": "http.response.start", "status": 499, "headers": []}
    await send(start)
    await send({"type": "http.response.body", "body": b""})
