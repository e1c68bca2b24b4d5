"""``python -m course serve``: the engine behind OpenAI's HTTP API."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from course.errors import UserError

if TYPE_CHECKING:
    from course.engine.front import Engine
    from course.serving.plan import Scheduler

SUMMARY = "serve the tiny model (or any other) over HTTP, with OpenAI's API"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--mode",
        choices=["colocated", "disaggregated"],
        default="colocated",
        help="prefill and decode on the same workers (default) or on separate ones",
    )
    parser.add_argument("--devices", default=None, help="one for each worker, as in cpu,cpu or cuda:0,cuda:1")
    parser.add_argument("--workers", default=None, metavar="ROLES", help="of each, as in prefill,decode,decode")
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or a name of the Hugging Face hub")
    parser.add_argument("--name", default=None, help="what clients call the model (default: as --model)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; others than 127.0.0.1 need a key")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    parser.add_argument(
        "--api-key", default=None, metavar="KEY", help="clients must send it: Authorization: Bearer KEY"
    )
    parser.add_argument(
        "--scheduler", default=None, metavar="NAME", help="policy of workers that do both (chunked-prefill)"
    )
    parser.add_argument("--token-budget", type=int, default=None, help="its tokens per step, if it has such a budget")
    parser.add_argument("--num-blocks", type=int, default=2048, help="blocks of KV cache per worker (default 2048)")
    parser.add_argument("--block-size", type=int, default=16, help="tokens per block (default 16)")
    parser.add_argument("--prefix-cache", action="store_true", help="let prompts that begin alike share blocks")
    parser.add_argument("--bandwidth-gb-s", type=float, default=None, help="disaggregated: as over a slower link")
    parser.add_argument("--latency-us", type=float, default=0.0, help="disaggregated: of that link, for each move")
    parser.add_argument("--short-prompts-stay", type=int, default=0, metavar="N", help="disaggregated: up to N tokens")
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
    roles, devices = crew(args)
    limits = Limits(max_answers=args.max_answers)
    with open_socket(args.host, args.port, limits) as listener:
        return serve(args, limits, listener, roles, devices)


def crew(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The role and the device of each worker. Raises UserError where they do not go together."""
    is_split = args.mode == "disaggregated"
    devices = args.devices.split(",") if args.devices else []
    roles = args.workers.split(",") if args.workers else []
    roles = roles or (["prefill", "decode"] if is_split else ["mixed"] * max(1, len(devices)))
    devices = devices or ["cpu"]
    devices = devices * len(roles) if len(devices) == 1 else devices
    if len(devices) != len(roles):
        raise UserError(
            f"{len(roles)} workers ({', '.join(roles)}) need as many devices, got {', '.join(devices)}: "
            "name the roles with --workers, or one device for all"
        )
    if is_split != (set(roles) != {"mixed"}):
        wanted = "some that only prefill or decode" if is_split else "workers that are mixed"
        raise UserError(f"--mode {args.mode} has {wanted}; --workers names {', '.join(roles)}")
    if not is_split and (args.bandwidth_gb_s is not None or args.latency_us or args.short_prompts_stay):
        raise UserError("--bandwidth-gb-s, --latency-us and --short-prompts-stay are for --mode disaggregated")
    if (args.scheduler or args.token_budget is not None) and not some_do_both(args, roles):
        raise UserError(
            "--scheduler and --token-budget are for workers that do both, here they only "
            f"{' or '.join(dict.fromkeys(roles))}: add a mixed one with --workers, or leave them out"
        )
    return roles, devices


def some_do_both(args: argparse.Namespace, roles: list[str]) -> bool:
    """Whether any worker prefills and decodes; where short prompts stay, those that decode do."""
    return "mixed" in roles or args.short_prompts_stay > 0


def serve(args: argparse.Namespace, limits: Any, listener: Any, roles: list[str], devices: list[str]) -> int:
    """Serve on a socket that is taken."""
    import asyncio

    from course.engine.server.app import Service
    from course.engine.server.bridge import Bridge
    from course.engine.server.host import address_of
    from course.engine.server.host import serve as serve_http
    from course.engine.server.jobs import JobMaker

    with make_engine(args, roles, devices) as engine:
        name = args.name or args.model
        most = min(engine.model.config.max_context, args.num_blocks * args.block_size)
        bridge = Bridge(engine, after_step=report_losses(engine))
        service = Service(name, engine.model, bridge, JobMaker(engine.model, most), limits)
        url = address_of(listener)

        def say_ready() -> None:
            print(f"Serving {name} at {url}/v1 ({args.mode}: {describe(roles, devices)}). Ctrl-C stops.", flush=True)

        asyncio.run(serve_http(service, listener, api_key=args.api_key, grace_s=args.grace, on_ready=say_ready))
    if bridge.error:
        raise UserError(f"the engine has stopped: {bridge.error}")
    print("Stopped.", flush=True)
    return 0


def describe(roles: list[str], devices: list[str]) -> str:
    """The workers in words."""
    return ", ".join(f"{role} on {device}" for role, device in zip(roles, devices, strict=True))


def make_engine(args: argparse.Namespace, roles: list[str], devices: list[str]) -> Engine:
    """The engine that the options describe, warm."""
    import torch

    torch.set_num_threads(1)
    engine = one_worker(args, devices[0]) if roles == ["mixed"] else many_workers(args, roles, devices)
    engine.generate([[0] * min(64, args.num_blocks * args.block_size - 8)], 2, ignore_end=True)
    engine.start_over()
    return engine


def one_worker(args: argparse.Namespace, device: str) -> Engine:
    """In this process: nothing is faster for one device."""
    from course.engine.local import LocalEngine
    from course.model.loading import load_model

    return LocalEngine(
        load_model(args.model, device=device),
        make_policy(args),
        num_blocks=args.num_blocks,
        block_size=args.block_size,
        prefix_cache=args.prefix_cache,
    )


def many_workers(args: argparse.Namespace, roles: list[str], devices: list[str]) -> Engine:
    """Each worker in a process of its own."""
    from course.engine.disaggregated import DisaggregatedEngine

    return DisaggregatedEngine(
        args.model,
        roles,  # type: ignore[arg-type]  # it checks them
        devices,
        schedulers={"mixed": lambda: make_policy(args)} if some_do_both(args, roles) else {},
        num_blocks=args.num_blocks,
        block_size=args.block_size,
        prefix_cache=args.prefix_cache,
        bandwidth_gb_s=args.bandwidth_gb_s,
        latency_us=args.latency_us,
        short_prompts_stay=args.short_prompts_stay,
        on_start=lambda sentence: print(sentence, flush=True),
    )


def report_losses(engine: Engine) -> Callable[[], None]:
    """What says so when a worker is lost and when another has taken its place."""
    from course.engine.disaggregated import DisaggregatedEngine

    if not isinstance(engine, DisaggregatedEngine):
        return lambda: None
    known = {worker.number for worker in engine.workers}
    told_s = 0.0

    def report() -> None:
        nonlocal told_s
        for event in [event for event in engine.statistics.events if event.time_s > told_s]:
            print(event.what, flush=True)
            told_s = event.time_s
        for worker in engine.workers:
            if worker.is_ready and worker.number not in known:
                print(f"{worker!r} is ready", flush=True)
                known.add(worker.number)

    return report


def make_policy(args: argparse.Namespace) -> Scheduler:
    """The policy that the options name."""
    from course.serving.schedulers import make_scheduler

    parameters = {} if args.token_budget is None else {"token_budget": args.token_budget}
    return make_scheduler(args.scheduler or "chunked-prefill", **parameters)
