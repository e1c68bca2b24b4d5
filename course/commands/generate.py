"""``python -m course generate "text"``: a continuation, streamed token by token."""

from __future__ import annotations

import argparse
import sys

from course.errors import UserError

SUMMARY = "continue a text with the tiny model (or any other), streaming"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("text", help="what to continue")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="length of the continuation (default 64)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    parser.add_argument("--top-k", type=int, default=0, help="sample among the k most likely tokens (0: all)")
    parser.add_argument("--top-p", type=float, default=1.0, help="sample among the most likely that add up to p")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another continuation")
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or a name of the Hugging Face hub")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")


def run(args: argparse.Namespace) -> int:
    """Print the text and its continuation as it comes."""
    if not args.text:
        raise UserError("the text is empty; give at least one character to continue")
    import torch

    from course.engine.local import LocalEngine
    from course.engine.sampling import Sampling
    from course.model.loading import load_model

    sampling = Sampling(args.temperature, args.top_k, args.top_p, args.seed)
    torch.set_num_threads(1)
    model = load_model(args.model, device=args.device)
    prompt = model.encode(args.text)
    block_size = 16
    engine = LocalEngine(model, num_blocks=-(-(len(prompt) + max(1, args.max_new_tokens)) // block_size))
    pieces = engine.stream_text(prompt, args.max_new_tokens, sampling)
    sys.stdout.write(args.text)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
