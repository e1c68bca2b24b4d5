"""A server with limits of one's choice: python -m tests.engine.server.small '{"max_answers": 4}' [API_KEY [alone]].

With "alone", it has a prefill and a decode worker, which are not started again when they are lost.
"""

from __future__ import annotations

import asyncio
import json
import sys

from course.engine.disaggregated import DisaggregatedEngine
from course.engine.local import LocalEngine
from course.engine.server.app import Service
from course.engine.server.bridge import Bridge
from course.engine.server.host import address_of, open_socket, serve
from course.engine.server.jobs import JobMaker
from course.engine.server.limits import Limits


def main(limits: str, api_key: str = "", workers: str = "") -> None:
    engine = DisaggregatedEngine(num_blocks=256, restart=False, on_start=print) if workers else LocalEngine()
    model = engine.model
    service = Service("tiny", model, Bridge(engine), JobMaker(model, 4096), Limits(**json.loads(limits)))
    with engine, open_socket("127.0.0.1", 0, service.limits) as listener:
        url = address_of(listener)
        ready = lambda: print(f"at {url}/v1", flush=True)  # noqa: E731
        asyncio.run(serve(service, listener, api_key=api_key or None, grace_s=0.5, on_ready=ready))


if __name__ == "__main__":
    main(*sys.argv[1:])
