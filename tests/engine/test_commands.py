"""run, generate and bench as a user meets them: on a checkpoint on disk, in and out of order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from course import commands
from course.engine.benchmark.breakdown import breakdown
from course.serving.schedulers import SCHEDULERS

HEADER = "arrived_s,prompt_tokens,output_tokens\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small random model whose tokens are bytes."""
    folder = tmp_path_factory.mktemp("checkpoint")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**shape, vocab_size=256, max_position_embeddings=256, eos_token_id=None, bos_token_id=None)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "trace.csv"
    rows = [f"{i * 0.01},{20 + 7 * i},{5 + i}\n" for i in range(12)]
    path.write_text(HEADER + "".join(rows))
    return str(path)


def course(*arguments: object) -> int:
    return commands.main([str(argument) for argument in arguments])


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
@pytest.mark.parametrize("clock", ["wall", "virtual"])
def test_run_serves_a_trace(
    checkpoint: str,
    trace: str,
    tmp_path: Path,
    scheduler: str,
    clock: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "result.json"
    options = ("--model", checkpoint, "--scheduler", scheduler, "--clock", clock, "--num-blocks", 64, "--json", out)
    assert course("run", "--trace", trace, *options) == 0
    printed = capsys.readouterr().out
    assert "12 requests: 12 finished" in printed
    assert all(word in printed for word in ("TTFT", "TPOT", "ITL", "E2E", "p99"))
    result = json.loads(out.read_text())
    assert result["completed"] == 12
    assert result["total_output_tokens"] == sum(5 + i for i in range(12))
    assert result["output_lens"] == [5 + i for i in range(12)]


def test_run_serves_on_workers(checkpoint: str, trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("run", "--trace", trace, "--model", checkpoint, "--workers", "prefill,decode")
    assert course(*options) == 0
    assert "finished" in capsys.readouterr().out
    assert course(*options, "--clock", "virtual") == 2
    assert "--workers does not go together with --clock virtual" in capsys.readouterr().err


def test_run_scales_into_the_context_and_counts_what_it_clips(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "long.csv"
    path.write_text(HEADER + "".join(f"0,{400 + i},50\n" for i in range(39)) + "0,9000,1000\n")
    assert course("run", "--trace", path, "--model", checkpoint, "--limit", 40) == 0
    printed = capsys.readouterr().out
    assert "scaled by 0.5" in printed
    assert "1 clipped" in printed
    assert "40 finished" in printed


def test_run_refuses_what_can_never_fit_and_serves_the_rest(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(HEADER + "0,10,5\n0,150,5\n0,12,5\n")
    assert course("run", "--trace", path, "--model", checkpoint, "--num-blocks", 6) == 0
    printed = capsys.readouterr()
    assert "3 requests: 2 finished, 1 refused" in printed.out
    assert "1 of 3 refused; the first: request 1 may need" in printed.err


def test_run_fails_where_nothing_can_be_served(checkpoint: str, trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert course("run", "--trace", trace, "--model", checkpoint, "--num-blocks", 1, "--clock", "virtual") == 2
    assert "give it more blocks or ask for fewer tokens" in capsys.readouterr().err


def test_run_preempts_and_swaps(checkpoint: str, trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--num-blocks", 14, "--host-blocks", 64, "--prefix-cache", "--speed", 100, "--token-budget", 64)
    assert course("run", "--trace", trace, "--model", checkpoint, *options) == 0
    assert "12 finished" in capsys.readouterr().out


def test_generate_streams_a_continuation(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--model", checkpoint, "--max-new-tokens", 12, "--temperature", 1.0)
    texts = []
    for seed in (0, 0, 1):
        assert course("generate", "Once upon", *options, "--seed", seed) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("Once upon")
    assert len(texts[0]) > len("Once upon\n")


MISTAKES = {
    "missing trace": (("run", "--trace", "nowhere.csv"), "nowhere.csv"),
    "a scheduler for nobody": (
        ("run", "--trace", "TRACE", "--workers", "prefill,decode", "--scheduler", "orca"),
        "--scheduler is for workers of the role mixed, and --workers prefill,decode has none; leave it out",
    ),
    "unknown scheduler": (
        ("run", "--trace", "TRACE", "--scheduler", "chunked-prefil"),
        "did you mean 'chunked-prefill'",
    ),
    "budget for a policy without one": (
        ("run", "--trace", "TRACE", "--scheduler", "static", "--token-budget", 5),
        "token_budget",
    ),
    "unknown model": (("run", "--trace", "TRACE", "--model", "nope"), "no model at 'nope'"),
    "zero blocks": (("run", "--trace", "TRACE", "--num-blocks", 0), "num_blocks"),
    "zero block size": (("run", "--trace", "TRACE", "--block-size", 0), "block_size"),
    "negative host blocks": (("run", "--trace", "TRACE", "--host-blocks", -1), "host"),
    "zero limit": (("run", "--trace", "TRACE", "--limit", 0), "limit"),
    "zero speed": (("run", "--trace", "TRACE", "--speed", 0), "speed"),
    "too much context": (("run", "--trace", "TRACE", "--context", 9999), "256"),
    "unknown format": (("run", "--trace", "TRACE", "--format", "parquet"), "parquet"),
    "no folder for the result": (("run", "--trace", "TRACE", "--json", "/no/such/folder/x.json"), "/no/such/folder"),
    "a folder as result": (("run", "--trace", "TRACE", "--json", "/"), "folder"),
    "unknown device": (("run", "--trace", "TRACE", "--device", "abacus"), "abacus"),
    "no text": (("generate", ""), "empty"),
    "too many tokens": (("generate", "x", "--max-new-tokens", 9999), "context of 256"),
    "no tokens": (("generate", "x", "--max-new-tokens", 0), "max_new_tokens"),
    "negative temperature": (("generate", "x", "--temperature", -1), "temperature"),
    "bad top-p": (("generate", "x", "--top-p", 2), "top_p"),
    "unknown model to generate": (("generate", "x", "--model", "nope"), "no model at 'nope'"),
    "unknown benchmark": (("bench", "everything"), "everything"),
    "unknown system": (("bench", "engine", "--systems", "vllm"), "unknown system 'vllm'"),
    "no repeats": (("bench", "engine", "--repeats", 0), "repeats"),
    "no requests": (("bench", "engine", "--requests", 0, "--systems", "course"), "at least 1 request"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_and_status_2(
    name: str, checkpoint: str, trace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = MISTAKES[name]
    arguments = tuple(trace if argument == "TRACE" else argument for argument in arguments)
    if arguments[0] != "bench" and "--model" not in arguments:
        arguments += ("--model", checkpoint)
    assert course(*arguments) == 2
    printed = capsys.readouterr().err.strip()
    assert words in printed
    assert len(printed.splitlines()) == 1
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("arrived_s,prompt_tokens\n0,1\n", "output_tokens"),
        (HEADER, "no requests"),
        (HEADER + "0,5,-3\n", "output_tokens"),
        (HEADER + "0,many,3\n", "prompt_tokens"),
    ],
)
def test_bad_traces_are_one_line(
    content: str, words: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    assert course("run", "--trace", path, "--model", checkpoint) == 2
    printed = capsys.readouterr().err.strip()
    assert words in printed
    assert len(printed.splitlines()) == 1


def test_bench_measures_every_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.json"
    assert (
        course(
            "bench", "engine", "--requests", 2, "--repeats", 1, "--systems", "course", "hf-continuous", "--json", out
        )
        == 0
    )
    rows = json.loads(out.read_text())
    assert [row["system"] for row in rows] == ["course", "hf-continuous"]
    for row in rows:
        assert all(row[key] > 0 for key in ("tokens_per_s", "mean_ttft_ms", "mean_tpot_ms", "peak_rss_mb"))
    assert "tokens/s" in capsys.readouterr().out


def test_bench_takes_a_step_apart() -> None:
    parts = breakdown("tiny", packed=False, num_sequences=2, context=20)
    assert all(parts[name] > 0 for name in ("step", "matrices", "attention", "calls"))
    assert 4 * parts["step"] > parts["matrices"]  # the whole; the machine may be busy while one of them is timed
