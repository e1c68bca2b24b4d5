"""``python -m course serve``: the engine behind OpenAI's HTTP API."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from course.errors import UserError

if TYPE_CHECKING:
    from course.engine.front import Engine
    from course.model.loading import Model
    from course.serving.plan import Scheduler

SUMMARY = "serve the tiny model (or any other) over HTTP, with OpenAI's API"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--mode", choices=["colocated"], default="colocated", help="prefill and decode together")
    parser.add_argument("--devices", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or a name of the Hugging Face hub")
    parser.add_argument("--name", default=None, help="what clients call the model (default: as --model)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; others than 127.0.0.1 need a key")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    parser.add_argument(
        "--api-key", default=None, metavar="KEY", help="clients must send it: Authorization: Bearer KEY"
    )
    parser.add_argument("--scheduler", default="chunked-prefill", help="name of a policy (default chunked-prefill)")
    parser.add_argument("--token-budget", type=int, default=None, help="tokens per step, for policies that have one")
    parser.add_argument("--num-blocks", type=int, default=2048, help="blocks of KV cache per worker (default 2048)")
    parser.add_argument("--block-size", type=int, default=16, help="tokens per block (default 16)")
    parser.add_argument("--prefix-cache", action="store_true", help="let prompts that begin alike share blocks")
    parser.add_argument("--max-answers", type=int, default=256, help="at a time, over all clients (default 256)")
    parser.add_argument("--grace", type=float, default=5.0, metavar="S", help="to finish in after Ctrl-C (default 5)")


def run(args: argparse.Namespace) -> int:
    """Take the port, load the model, serve until Ctrl-C."""
    from course.engine.server.host import check_address, open_socket
    from course.engine.server.limits import Limits

    if args.max_answers < 1:
        raise UserError(f"--max-answers must be at least 1, got {args.max_answers}")
    if not 0 <= args.grace <= 3600:
        raise UserError(f"--grace must be a number of seconds from 0 to 3600, got {args.grace}")
    check_address(args.host, args.api_key)
    limits = Limits(max_answers=args.max_answers)
    with open_socket(args.host, args.port, limits) as listener:
        return serve(args, limits, listener)


def serve(args: argparse.Namespace, limits: Any, listener: Any) -> int:
    """Serve on a socket that is taken."""
    import asyncio

    from course.engine.server.app import Service
    from course.engine.server.bridge import Bridge
    from course.engine.server.host import address_of
    from course.engine.server.host import serve as serve_http
    from course.engine.server.jobs import JobMaker

    engine, model = make_engine(args)
    name = args.name or args.model
    most = min(model.config.max_context, args.num_blocks * args.block_size)
    service = Service(name, model, Bridge(engine), JobMaker(model, most), limits)
    url = address_of(listener)

    def say_ready() -> None:
        print(f"Serving {name} at {url}/v1 ({args.mode}, {args.devices}). Ctrl-C stops.", flush=True)

    asyncio.run(serve_http(service, listener, api_key=args.api_key, grace_s=args.grace, on_ready=say_ready))
    if service.bridge.error:
        raise UserError(f"the engine has stopped: {service.bridge.error}")
    print("Stopped.", flush=True)
    return 0


def make_engine(args: argparse.Namespace) -> tuple[Engine, Model]:
    """The engine that the options describe, warm, and its model."""
    import torch

    from course.engine.local import LocalEngine
    from course.model.loading import load_model

    torch.set_num_threads(1)
    model = load_model(args.model, device=args.devices)
    engine = LocalEngine(
        model,
        make_policy(args),
        num_blocks=args.num_blocks,
        block_size=args.block_size,
        prefix_cache=args.prefix_cache,
    )
    engine.generate([[0] * min(64, args.num_blocks * args.block_size - 8)], 2, ignore_end=True)
    engine.start_over()
    return engine, model


def make_policy(args: argparse.Namespace) -> Scheduler:
    """The policy that the options name."""
    from course.serving.schedulers import make_scheduler

    parameters = {} if args.token_budget is None else {"token_budget": args.token_budget}
    return make_scheduler(args.scheduler, **parameters)
