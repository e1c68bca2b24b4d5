"""``python -m course run``: a request trace served by the real engine, or on a virtual clock."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.commands.outputs import check_writable
from course.errors import UserError

if TYPE_CHECKING:
    from course.engine.front import Engine
    from course.metrics.record import RequestRecord
    from course.serving.plan import Scheduler
    from course.workload.request import Workload

DEFAULT = "chunked-prefill"
SUMMARY = "serve a request trace on the tiny model in real time, or on a virtual clock"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--trace", required=True, help="file of requests (CSV, JSON or JSON lines)")
    parser.add_argument("--format", default=None, help="format of the trace; recognised from its columns by default")
    parser.add_argument(
        "--tick", type=float, default=None, metavar="S", help="spread equal arrival times over S seconds"
    )
    parser.add_argument("--limit", type=int, default=None, help="only the first LIMIT requests")
    parser.add_argument("--speed", type=float, default=1.0, help="2 plays the trace twice as fast")
    parser.add_argument(
        "--context", type=int, default=None, help="scale lengths into so many tokens (default: model's)"
    )
    parser.add_argument("--scheduler", default=None, help="name of a policy (default chunked-prefill)")
    parser.add_argument("--token-budget", type=int, default=None, help="tokens per step, for policies that have one")
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or a name of the Hugging Face hub")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument(
        "--workers",
        default=None,
        metavar="ROLES",
        help="serve on worker processes with these roles, as in prefill,decode; --scheduler is that of role mixed",
    )
    parser.add_argument("--num-blocks", type=int, default=2048, help="blocks of KV cache (default 2048)")
    parser.add_argument("--block-size", type=int, default=16, help="tokens per block (default 16)")
    parser.add_argument("--host-blocks", type=int, default=0, help="blocks of host memory to swap to (default 0)")
    parser.add_argument("--prefix-cache", action="store_true", help="let prompts that begin alike share blocks")
    parser.add_argument(
        "--clock", choices=["wall", "virtual"], default="wall", help="virtual needs no model and no time"
    )
    parser.add_argument(
        "--profile",
        type=Path,
        default=None,
        metavar="FILE",
        help="of python -m course profile: steps on the virtual clock",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the prompts' token ids")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the result to FILE")


def run(args: argparse.Namespace) -> int:
    """Serve the trace, print the latencies, write the result."""
    check_writable(args.json)
    if args.host_blocks < 0:
        raise UserError(f"--host-blocks must be 0 (no swapping) or more, got {args.host_blocks}")
    if args.profile and args.clock == "wall":
        raise UserError("--profile is for the virtual clock; add --clock virtual, or leave it out")
    if args.workers and (args.clock == "virtual" or args.host_blocks):
        other = "--clock virtual" if args.clock == "virtual" else "--host-blocks"
        raise UserError(f"--workers does not go together with {other}; leave one of them out")
    check_policy(args)
    scheduler = make_policy(args)
    workload = make_workload(args)
    print(describe(workload, args))
    records = (
        on_wall_clock(args, scheduler, workload)
        if args.clock == "wall"
        else on_virtual_clock(args, scheduler, workload)
    )
    from course.metrics.summary import summary_table

    print(summary_table(records))
    if args.json:
        save(args, records)
    refused = [record for record in records if record.outcome == "refused"]
    if refused:
        print(f"course: {len(refused)} of {len(records)} refused; the first: {refused[0].error}", file=sys.stderr)
    return 2 if len(refused) == len(records) else 0


def check_policy(args: argparse.Namespace) -> None:
    """Fill in the policy; refuse one where every worker has the policy of its role."""
    if args.workers and "mixed" not in args.workers.split(","):
        for option, given in (("--scheduler", args.scheduler), ("--token-budget", args.token_budget)):
            if given is not None:
                raise UserError(
                    f"{option} is for workers of the role mixed, and --workers {args.workers} has none; leave it out"
                )
        return
    args.scheduler = args.scheduler or DEFAULT


def make_policy(args: argparse.Namespace) -> Scheduler:
    """The policy that the options name."""
    from course.serving.schedulers import make_scheduler

    parameters: dict[str, Any] = {}
    if args.token_budget is not None:
        parameters["token_budget"] = args.token_budget
    return make_scheduler(args.scheduler or DEFAULT, **parameters)


def make_workload(args: argparse.Namespace) -> Workload:
    """The trace as requests with prompts, scaled into the context."""
    from course.model.weights import checkpoint_folder, load_config
    from course.workload.build import build_workload
    from course.workload.prompts import with_prompt_tokens
    from course.workload.traces import read_trace

    rows = read_trace(args.trace, args.format, tick_s=args.tick, seed=args.seed)
    config = load_config(checkpoint_folder(args.model))
    context = config.max_context if args.context is None else args.context
    if context > config.max_context:
        raise UserError(f"--context {context} is more than the model's {config.max_context} tokens; ask for less")
    workload = build_workload(
        rows, limit=args.limit, speed=args.speed, context_tokens=context, block_size=args.block_size
    )
    return with_prompt_tokens(workload, config.vocab_size, args.seed)


def describe(workload: Workload, args: argparse.Namespace) -> str:
    """What is about to be served, and how the trace was changed for it."""
    requests = workload.requests
    prompt_tokens = sum(request.num_prompt_tokens for request in requests)
    line = (
        f"{len(requests)} requests over {requests[-1].arrival_s:.1f} s: {prompt_tokens} prompt and "
        f"{sum(workload.output_lengths.values())} answer tokens; {policy(args)}, {args.clock} clock"
    )
    if args.clock == "virtual":
        line += (
            f"\na step takes what {args.profile} says"
            if args.profile
            else "\na step takes what a linear cost model says: of the tiny model's order, not measured here"
        )
    if workload.scale < 1:
        line += (
            f"\nlengths scaled by {workload.scale:.3f} so that 95 % of prompt + answer fit the context; "
            f"{workload.num_clipped} clipped beyond that"
        )
    return line


def policy(args: argparse.Namespace) -> str:
    """Who decides, in words."""
    return args.scheduler or f"workers {args.workers}"


def on_wall_clock(args: argparse.Namespace, scheduler: Scheduler, workload: Workload) -> list[RequestRecord]:
    """Serve with the real model, as fast as this machine can, with a progress bar."""
    import torch
    from tqdm import tqdm

    from course.engine.replay import serve

    torch.set_num_threads(1)
    with make_engine(args, scheduler) as engine:
        engine.generate([[0] * min(64, args.num_blocks * args.block_size - 8)], 2, ignore_end=True)  # warm up
        num_tokens = sum(workload.output_lengths.values())
        with tqdm(total=num_tokens, unit="token", desc="serving", leave=False) as bar:
            return serve(engine, workload, on_step=lambda tokens: bar.update(len(tokens)))


def make_engine(args: argparse.Namespace, scheduler: Scheduler) -> Engine:
    """An engine in this process, or one on workers."""
    from course.engine.disaggregated import DisaggregatedEngine
    from course.engine.local import LocalEngine
    from course.model.loading import load_model

    if not args.workers:
        return LocalEngine(
            load_model(args.model, device=args.device),
            scheduler,
            num_blocks=args.num_blocks,
            block_size=args.block_size,
            num_host_blocks=args.host_blocks,
            prefix_cache=args.prefix_cache,
        )
    roles = args.workers.split(",")
    return DisaggregatedEngine(
        args.model,
        roles,
        args.device,
        schedulers={"mixed": lambda: make_policy(args)} if "mixed" in roles else {},
        num_blocks=args.num_blocks,
        block_size=args.block_size,
        prefix_cache=args.prefix_cache,
    )


def on_virtual_clock(args: argparse.Namespace, scheduler: Scheduler, workload: Workload) -> list[RequestRecord]:
    """Serve on the virtual clock: the same control plane, a cost model instead of a model."""
    from course.serving.cluster import Cluster
    from course.serving.instance import Instance
    from course.simulator.costs.measured import fit
    from course.simulator.costs.profile import load_profile
    from course.simulator.linear import LinearCost
    from course.simulator.run import CostModel
    from course.simulator.virtual import VirtualDriver

    instance = Instance(
        scheduler,
        args.num_blocks,
        args.block_size,
        prefix_cache=args.prefix_cache,
        num_host_blocks=args.host_blocks,
    )
    cost: CostModel = fit(load_profile(args.profile)) if args.profile else LinearCost()
    return VirtualDriver(Cluster([instance]), cost).run(workload).records


def save(args: argparse.Namespace, records: list[RequestRecord]) -> None:
    """Write the result with the field names of ``vllm bench serve``."""
    from course.metrics.result import RunInfo, result_json, save_result

    info = RunInfo(
        label=f"{(args.scheduler or args.workers).replace(',', '-')}-{args.clock}",
        model_id=args.model,
        metadata={"trace": str(args.trace), "scheduler": policy(args), "clock": args.clock, "speed": args.speed},
    )
    save_result(args.json, result_json(records, info=info, detailed=True))
