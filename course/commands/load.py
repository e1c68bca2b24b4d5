"""``python -m course load``: an open-loop load client for any server that speaks OpenAI's API."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.commands.outputs import check_writable
from course.errors import UserError

if TYPE_CHECKING:
    from course.engine.client.load import Report
    from course.engine.client.probe import ServerCard
    from course.metrics.record import RequestRecord
    from course.workload.request import Workload
    from course.workload.slo import SLO

SUMMARY = "send requests to a server (ours, vLLM, SGLang, ...) at a given rate and measure what users feel"

LATE_S = 0.02  # sends later than this are worth a word
WORD_MARGIN = 32  # tokens of context kept free where a prompt is words: they may become a few more tokens


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--url", required=True, help="of the server, such as http://127.0.0.1:8000")
    parser.add_argument("--api-key", default=None, metavar="KEY", help="sent as Authorization: Bearer KEY")
    parser.add_argument("--model", default=None, help="which model (default: the first that the server names)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--trace", default=None, metavar="FILE", help="requests of a file (CSV, JSON or JSON lines)")
    what.add_argument(
        "--lengths", default=None, metavar="NAME", help="lengths like a public data set's: azure-conv, ..."
    )
    parser.add_argument("--prompt-tokens", type=int, default=None, help="length of every prompt (default 128)")
    parser.add_argument("--output-tokens", type=int, default=None, help="length of every answer (default 64)")
    parser.add_argument("--requests", type=int, default=None, help="how many (default 64; of a trace, all)")
    parser.add_argument("--rate", type=float, default=None, help="requests/s (default inf: all at once; a trace's own)")
    parser.add_argument("--burstiness", type=float, default=1.0, help="1 is Poisson (default), below it is burstier")
    parser.add_argument("--speed", type=float, default=1.0, help="2 plays a trace twice as fast")
    parser.add_argument(
        "--context", type=int, default=None, help="scale lengths into so many tokens (default: server's)"
    )
    parser.add_argument("--chat", action="store_true", help="use /v1/chat/completions instead of /v1/completions")
    parser.add_argument("--words", action="store_true", help="prompts are words even where the server takes token ids")
    parser.add_argument("--allow-end", action="store_true", help="do not send ignore_eos: answers may end early")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="S", help="for one answer (default 600 s)")
    parser.add_argument(
        "--goodput", nargs="+", default=None, metavar="NAME:MS", help="limits, as in ttft:200 tpot:50 e2el:3000"
    )
    parser.add_argument("--seed", type=int, default=0, help="of arrivals, lengths and prompts")
    parser.add_argument(
        "--json", type=Path, default=None, metavar="FILE", help="write the result as vllm bench serve does"
    )


def run(args: argparse.Namespace) -> int:
    """Ask the server who it is, send the load, print what came back."""
    import asyncio

    check_writable(args.json)
    check(args)
    slo = read_goodput(args.goodput) if args.goodput else None
    card, workload, report = asyncio.run(measure(args))
    if not report.records:
        raise UserError("stopped before anything was sent")
    from course.metrics.summary import summary_table

    print(summary_table(report.records, slo))
    print(remarks(report))
    for line in failures(report.records):
        print(f"course: {line}", file=sys.stderr)
    if args.json:
        save(args, card, workload, report, slo)
    return 0 if any(record.finished for record in report.records) else 2


def check(args: argparse.Namespace) -> None:
    """Raise UserError for options that contradict one another."""
    has_source = args.trace or args.lengths
    if has_source and (args.prompt_tokens or args.output_tokens):
        name = "--trace" if args.trace else "--lengths"
        raise UserError(f"{name} says how long prompts and answers are; leave out --prompt-tokens and --output-tokens")
    if not args.timeout > 0:
        raise UserError(f"--timeout must be a positive number of seconds, got {args.timeout}")
    if args.requests is not None and args.requests < 1:
        raise UserError(f"--requests must be at least 1, got {args.requests}")


def read_goodput(limits: list[str]) -> SLO:
    """Limits in milliseconds, written as for ``vllm bench serve --goodput``."""
    from course.workload.slo import SLO

    found: dict[str, float] = {}
    for limit in limits:
        name, _, value = limit.partition(":")
        with suppress(ValueError):
            found[name] = float(value) / 1000
        if name not in ("ttft", "tpot", "e2el") or name not in found:
            raise UserError(
                f"--goodput {limit} is not understood; write NAME:MS with ttft, tpot or e2el, as in ttft:200"
            )
    return SLO(found.get("ttft", math.inf), found.get("tpot", math.inf), found.get("e2el"))


async def measure(args: argparse.Namespace) -> tuple[ServerCard, Workload, Report]:
    """Everything that needs the server."""
    import asyncio
    import signal

    from tqdm import tqdm

    from course.engine.client.call import Target
    from course.engine.client.load import OpenLoop, Style
    from course.engine.client.probe import probe

    raise_file_limit()
    target = Target.of(args.url, args.api_key)
    card = await probe(target, args.model)
    target = await target.located()
    workload = make_workload(args, card)
    print(describe(args, card, workload), flush=True)
    style = Style(args.chat, not args.allow_end, args.temperature, args.seed)
    stop = asyncio.Event()
    with suppress(NotImplementedError):  # Windows: Ctrl-C ends without a report
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    with tqdm(total=len(workload), unit="request", desc="load", leave=False) as bar:
        loop = OpenLoop(target, card, style, args.timeout)
        report = await loop.run(workload, stop=stop, on_end=count_on(bar))
    return card, workload, report


def count_on(bar: Any) -> Callable[[RequestRecord], None]:
    """Move the bar; failures show while the load still runs."""
    num_failed = 0

    def on_end(record: RequestRecord) -> None:
        nonlocal num_failed
        if not record.finished:
            num_failed += 1
            bar.set_postfix(failed=num_failed, refresh=False)
        bar.update()

    return on_end


def raise_file_limit() -> None:
    """Each request has a connection of its own: allow as many as the system does."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_workload(args: argparse.Namespace, card: ServerCard) -> Workload:
    """The requests: when, how long, and for our own server with token ids."""
    from course.workload.build import build_workload, rows_from, with_arrivals
    from course.workload.prompts import with_prompt_tokens
    from course.workload.traces import read_trace

    if args.trace:
        rows = read_trace(args.trace, seed=args.seed)[: args.requests]
        if args.rate is not None:
            rows = with_arrivals(rows, arrivals(args, len(rows)))
    else:
        num = args.requests or 64
        rows = rows_from(arrivals(args, num), *lengths(args, num))
    as_words = args.chat or args.words or card.vocab_size is None
    context = args.context or (card.max_tokens - WORD_MARGIN * as_words if card.max_tokens else None)
    workload = build_workload(rows, speed=args.speed, context_tokens=context, max_new_tokens="exact")
    if as_words or card.vocab_size is None:
        return workload
    return with_prompt_tokens(workload, card.vocab_size, args.seed)


def arrivals(args: argparse.Namespace, num: int) -> Any:
    """When the requests are sent."""
    from course.workload.arrivals import gamma_arrivals

    rate = math.inf if args.rate is None else args.rate
    return gamma_arrivals(num, rate, args.burstiness, args.seed, exact_total=True)


def lengths(args: argparse.Namespace, num: int) -> Any:
    """How long prompts and answers are."""
    from course.workload.length_tables import load_table
    from course.workload.lengths import fixed_lengths

    if args.lengths:
        return load_table(args.lengths).draw(num, args.seed)
    prompt_tokens = 128 if args.prompt_tokens is None else args.prompt_tokens
    return fixed_lengths(num, prompt_tokens, 64 if args.output_tokens is None else args.output_tokens)


def describe(args: argparse.Namespace, card: ServerCard, workload: Workload) -> str:
    """What is about to be sent."""
    requests = workload.requests
    num_prompt = sum(request.num_prompt_tokens for request in requests)
    kind = "words" if requests[0].prompt is None else "token ids"
    lines = [
        f"{len(requests)} requests over {requests[-1].arrival_s:.1f} s to {card.model} at {args.url}: "
        f"{num_prompt} prompt tokens (as {kind}) and {sum(workload.output_lengths.values())} answer tokens"
    ]
    if workload.scale < 1:
        lines.append(
            f"lengths scaled by {workload.scale:.3f} so that 95 % of prompt + answer fit the server's context; "
            f"{workload.num_clipped} clipped beyond that"
        )
    return "\n".join(lines)


def remarks(report: Report) -> str:
    """How the figures above were made, and whether the client kept up."""
    from course.metrics.statistics import Statistics

    late = Statistics.of(report.late_s, (99,))
    counted = {"usage": "tokens as the server's usage counts them", "chunks": "no usage came: each chunk is a token"}
    lines = [counted.get(report.counted_by, f"tokens counted by {report.counted_by}")]
    lines.append(
        f"sent {late.median * 1000:.1f} ms late in the median, {late.percentiles[99] * 1000:.1f} ms at p99, "
        f"{max(report.late_s, default=0.0) * 1000:.1f} ms at most"
    )
    if late.percentiles[99] > LATE_S:
        lines.append("this machine did not keep up with its own plan: latencies hold delays of the client")
    return "\n".join(lines)


def failures(records: list[RequestRecord]) -> list[str]:
    """Why requests failed, the most frequent reason first."""
    reasons = Counter(record.error or str(record.outcome) for record in records if not record.finished)
    return [f"{count} of {len(records)} did not finish: {reason}" for reason, count in reasons.most_common(10)]


def save(args: argparse.Namespace, card: ServerCard, workload: Workload, report: Report, slo: SLO | None) -> None:
    """Write the result with the field names of ``vllm bench serve``."""
    from course.metrics.result import RunInfo, result_json, save_result
    from course.metrics.statistics import Statistics

    late = Statistics.of(report.late_s, (99,))
    info = RunInfo(
        backend="openai-chat" if args.chat else "openai",
        label="course-load",
        model_id=card.model,
        request_rate=math.inf if args.rate is None else args.rate,
        burstiness=args.burstiness,
        metadata={
            "url": args.url,
            "source": args.trace or args.lengths or "fixed",
            "seed": args.seed,
            "token_count": report.counted_by,
            "late_median_ms": late.median * 1000,
            "late_p99_ms": late.percentiles[99] * 1000,
            "late_max_ms": max(report.late_s, default=0.0) * 1000,
        },
    )
    save_result(args.json, result_json(report.records, info=info, slo=slo, detailed=True, texts=report.texts))
