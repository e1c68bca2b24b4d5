"""A server with limits of one's choice: python -m tests.engine.server.small '{"max_answers": 4}' [API_KEY]."""

from __future__ import annotations

import asyncio
import json
import sys

from course.engine.local import LocalEngine
from course.engine.server.app import Service
from course.engine.server.bridge import Bridge
from course.engine.server.host import address_of, open_socket, serve
from course.engine.server.jobs import JobMaker
from course.engine.server.limits import Limits
from course.model.loading import load_model


def main(limits: str, api_key: str | None = None) -> None:
    model = load_model("tiny")
    service = Service("tiny", model, Bridge(LocalEngine(model)), JobMaker(model, 4096), Limits(**json.loads(limits)))
    with open_socket("127.0.0.1", 0, service.limits) as listener:
        url = address_of(listener)
        ready = lambda: print(f"at {url}/v1", flush=True)  # noqa: E731
        asyncio.run(serve(service, listener, api_key=api_key, grace_s=0.5, on_ready=ready))


if __name__ == "__main__":
    main(*sys.argv[1:])
