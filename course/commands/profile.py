"""``python -m course profile``: time steps of the engine on this machine; the simulator's cost model of it."""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from course.commands.outputs import check_writable
from course.errors import UserError

if TYPE_CHECKING:
    from course.model.loading import Model
    from course.simulator.costs.profile import Profile
    from course.simulator.shapes import ModelShape

SUMMARY = "time steps of the engine on this machine: the simulator's cost model of it"
PROCESSOR_TIME = "count only what this thread computes, not what passes meanwhile: for a busy machine"
RANDOM_WEIGHTS = "take --model as the name of a shape of the simulator: times do not depend on the weights"
MACHINE = "what an experiment calls this hardware (default this-machine)"
LARGEST_BLOCK = 256  # with larger ones the batches of the profile would not fit its cache
QUIET = 0.95  # below this share of processor time, another program was in the way


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--out", type=Path, default=Path("profile.json"), metavar="FILE", help="default profile.json")
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or a name of the Hugging Face hub")
    parser.add_argument("--random-weights", action="store_true", help=RANDOM_WEIGHTS)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="default float32")
    parser.add_argument("--machine", default="this-machine", metavar="NAME", help=MACHINE)
    parser.add_argument("--rounds", type=int, default=5, help="how often each step is timed (default 5)")
    parser.add_argument("--block-size", type=int, default=16, help="tokens per block of the KV cache (default 16)")
    parser.add_argument("--seed", type=int, default=0, help="of the order and of the contexts")
    parser.add_argument("--processor-time", action="store_true", help=PROCESSOR_TIME)
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the fit of a recorded profile, record nothing")


def run(args: argparse.Namespace) -> int:
    """Record, write, fit, print; or print what was recorded earlier."""
    from course.simulator.costs.profile import load_profile

    if args.show:
        print(report(load_profile(args.show)))
        return 0
    check_writable(args.out)
    if args.rounds < 1:
        raise UserError(f"--rounds must be at least 1, got {args.rounds}")
    if not 1 <= args.block_size <= LARGEST_BLOCK:
        raise UserError(f"--block-size must be from 1 to {LARGEST_BLOCK} tokens, got {args.block_size}")
    if args.processor_time and args.device != "cpu":
        raise UserError("--processor-time sees nothing of a GPU's work; leave it out")
    import torch
    from tqdm import tqdm

    from course.model.loading import load_model

    torch.set_num_threads(1)
    load = random_model if args.random_weights else load_model
    model = load(args.model, dtype=args.dtype, device=args.device)
    recorder = ProfileRecorder(model, args.block_size, args.seed, args.device, args.processor_time, args.machine)
    with tqdm(total=args.rounds * recorder.num_steps, unit="step", desc="profile", leave=False) as bar:
        for _ in range(args.rounds):
            recorder.run_round(bar.update)
    profile = recorder.profile()
    profile.save(args.out)
    print(report(profile))
    print(f'\nwritten to {args.out}; an experiment uses it with cost = "{args.out}"')
    return 0


class ProfileRecorder:
    """Times the steps of a profile, round by round; one thread of computation."""

    def __init__(
        self,
        model: Model,
        block_size: int = 16,
        seed: int = 0,
        device: str = "cpu",
        processor_time: bool = False,
        machine: str = "this-machine",
    ) -> None:
        from course.engine.profiling import Recording, default_steps, large_steps, peak_rates

        self.model, self.device, self.machine = model, device, machine
        clock = "processor" if processor_time else "wall"
        self.settings = {"clock": clock, "block_size": block_size, "seed": seed, "device": device}
        self.rates = peak_rates(device, dtype=model.network.dtype)
        steps = default_steps(model.config.max_context, seed)
        if device != "cpu":
            steps += large_steps(model.config.max_context, seed)
        self._recording = Recording(model, steps, block_size, seed, clock_named(clock))
        self._wall_s = self._cpu_s = 0.0

    @property
    def num_steps(self) -> int:
        """Steps of a round."""
        return len(self._recording.steps)

    def run_round(self, on_step: Callable[[], object] = lambda: None) -> None:
        """Time every step once more, and how much of the time this process could compute."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        self._recording.run_round(on_step)
        self._wall_s += time.perf_counter() - wall_s
        self._cpu_s += time.process_time() - cpu_s

    def profile(self) -> Profile:
        """What was recorded so far, with its conditions."""
        import torch

        from course.simulator.costs.profile import Profile, ProfiledStep
        from course.simulator.hardware import Hardware

        name = processor_name(self.device)
        dtype = str(self.model.network.dtype).removeprefix("torch.")
        machine = Hardware(
            name=self.machine,
            memory_bytes=memory_bytes(self.device),
            flops_s=self.rates[0],
            memory_bandwidth_bytes_s=self.rates[1],
            description=name,
            source=f"measured by python -m course profile, one thread, {dtype}",
        )
        conditions = {
            "processor": name,
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "code": code_version(),
            "dtype": dtype,
            **self._software(),
            "threads": torch.get_num_threads(),
            **self.settings,
            "rounds": len(self._recording.seconds[0]),
            "wall_s": round(self._wall_s, 1),
            "cpu_share": round(self._cpu_s / self._wall_s, 3),
        }
        steps = zip(self._recording.steps, self._recording.seconds, strict=True)
        return Profile(
            shape_of(self.model),
            machine,
            tuple(ProfiledStep(step.prompts, step.contexts, tuple(seconds)) for step, seconds in steps),
            datetime.now().isoformat(timespec="seconds"),
            conditions,
        )

    def _software(self) -> dict[str, str]:
        """What else a GPU's times depend on."""
        import torch

        if self.device == "cpu":
            return {}
        import triton

        return {"cuda": str(torch.version.cuda), "triton": triton.__version__}


def random_model(name: str, dtype: str, device: str) -> Model:
    """A model of a published shape with random weights. Raises UserError for a name that is none."""
    from course.model.config import ModelConfig, default_rope
    from course.model.loading import DTYPES, Model
    from course.model.transformer import Transformer, check_device
    from course.model.weights import random_weights
    from course.simulator.shapes import load_shape

    shape = load_shape(name)
    if not shape.gated or shape.layer_norm:
        raise UserError(f"the engine computes Llama- and Qwen-like models, and {name!r} is none; choose another")
    check_device(device)
    config = ModelConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.ffn_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        max_context=shape.max_context,
        rope_inverse_frequencies=default_rope(shape.head_dim, 500_000.0),
        tied_embeddings=shape.tied_embeddings,
        qkv_bias=shape.qkv_bias,
        output_bias=shape.output_bias,
        mlp_bias=shape.mlp_bias,
        qk_norm=shape.qk_norm,
    )
    weights = random_weights(config, device=device, dtype=DTYPES[dtype])
    return Model(name, Transformer(config, weights, dtype=DTYPES[dtype], device=device))


def report(profile: Profile) -> str:
    """The conditions, the fitted form and how far it is from what was measured."""
    from course.simulator.costs.measured import fit, residuals

    cost, conditions = fit(profile), profile.conditions or {}
    machine = profile.machine
    lines = [
        f"{profile.model.name}: {len(profile.steps)} steps, {conditions.get('rounds')} times each, "
        f"in {conditions.get('wall_s')} s on {profile.recorded}",
        f"{machine.description}, one thread: {machine.flops_s / 1e9:.0f} GFLOP/s, "
        f"{machine.memory_bandwidth_bytes_s / 1e9:.0f} GB/s; torch {conditions.get('torch')}, "
        f"Python {conditions.get('python')}, code {conditions.get('code')}",
        "",
        "a step takes, in microseconds:",
    ]
    names = ("always", "prompt token", "query-key pair", "key read", "chunk", "decode", "cached token of a decode")
    lines += [f"  {name:<26}{1e6 * value:>12.3f}" for name, value in zip(names, astuple(cost), strict=True)]
    lines += ["", f"{'fit beside measurement':<26}{'steps':>6}{'p50':>8}{'p90':>8}{'bias':>8}"]
    for row in residuals(profile, cost):
        lines.append(
            f"  {row.kind:<24}{row.num_steps:>6}{100 * row.p50:>6.1f} %{100 * row.p90:>6.1f} %{100 * row.bias:>+6.1f} %"
        )
    share = conditions.get("cpu_share", 1.0)
    if conditions.get("clock") == "processor":
        lines += ["", "times are this thread's own computing: what waits between is not in them"]
    elif conditions.get("device") == "cpu" and share < QUIET:
        lines += [
            "",
            f"another program was in the way: this one computed {100 * share:.0f} % of the time; record again when it "
            "is quiet, or with --processor-time",
        ]
    return "\n".join(lines)


def clock_named(name: str) -> Callable[[], float]:
    """The clock "wall", or "processor": what this thread has computed."""
    return {"wall": time.perf_counter, "processor": time.thread_time}[name]


def shape_of(model: Model) -> ModelShape:
    """The shape of a loaded model, in the precision in which it is computed."""
    from course.simulator.shapes import load_shape, shape_from_config, shape_names

    value_bytes = model.network.dtype.itemsize
    if model.name in shape_names():
        return replace(load_shape(model.name), bytes_per_value=value_bytes)
    assert model.folder is not None
    return replace(shape_from_config(model.folder), name=model.name, bytes_per_value=value_bytes)


def memory_bytes(device: str) -> int:
    """Memory of the device."""
    import torch

    from course.commands.doctor import memory

    if device != "cpu":
        return int(torch.cuda.get_device_properties(device).total_memory)
    found = memory()
    return found[0] if found else 8 * 2**30


def processor_name(device: str) -> str:
    """Name of the device."""
    import torch

    from course.commands.doctor import processor

    return processor() if device == "cpu" else str(torch.cuda.get_device_name(device))


def code_version() -> str:
    """What tells this state of the measured code from others: a hash of control plane, model and engine."""
    root = Path(sys.modules["course"].__path__[0])
    digest = hashlib.sha256()
    for path in sorted(file for room in ("serving", "model", "engine") for file in (root / room).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
