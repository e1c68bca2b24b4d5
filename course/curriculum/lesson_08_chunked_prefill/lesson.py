# ruff: noqa: D100, D103, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - find a stall that TPOT does not show, and say how long a prompt makes others wait;
# - cut a prompt into chunks, and mask them so that every token comes out as before;
# - write a scheduler that fills a token budget, and let it serve a real model;
# - choose the budget, and say on which machines it is nearly free, and why.
#
# You need three things from before. A token attends to those before it (lesson 01). **Prefill** computes a whole prompt,
# **decode** adds a token (lesson 02). And a scheduler decides before every step who runs (lesson 07). There are five
# exercises of one to seven lines. If you leave one open, the lesson goes on with the reference.

# %%
import math

import numpy as np
import torch
from torch import Tensor

from course.curriculum.lesson_08_chunked_prefill import explorer, mixed_steps, prices, real
from course.exercises import exercise, find, scorecard, start
from course.figures import Drawing, mask_grid, steps_grid, steps_summary, timelines, token_gaps
from course.model.loading import load_model
from course.serving.schedulers import Orca
from course.simulator.hardware import load_hardware
from course.simulator.lockstep import serve_in_steps
from course.simulator.shapes import load_shape

torch.set_num_threads(1)
start("chunked_prefill")

# %% [markdown]
# ## A number that hurts
#
# Continuous batching is at work (`Orca(8)`: up to eight at a time). Whoever arrives joins the batch in the next step, with
# the whole prompt at once. Two people are reading their answers, on the real tiny model. Then somebody sends a letter of
# more than a thousand tokens.

# %% tags=["nbval-ignore-output"]
model = load_model("tiny")
real.serve_once(model, Orca(8), real.NOTE)  # the first time is always slow
whole = real.serve(model, Orca(8), runs=2)
typical_s = np.median(np.diff(whole.reader_s))
assert whole.gap_s > 5 * typical_s, "no stall: is this machine very slow just now? Run the cell again"
print(f"{whole.records[-1].num_prompt_tokens} tokens of a letter, read in one step")
print(f"half of the first reader's gaps are shorter than {1e3 * typical_s:.1f} ms")

# %% [markdown]
# **Predict, then run.** How long is the longest gap? And how much of it do you find in TPOT, the mean of the gaps?

# %% tags=["nbval-ignore-output"]
print(real.say(whole))
assert whole.gap_s > 3 * whole.tpot_s, "no stall: is this machine very slow just now? Run the cell above again"
token_gaps(whole.reader_s, limit_s=whole.gap_s / 2, title="One reads, and a letter arrives")

# %% [markdown]
# The readers' next tokens were in the same step as the letter, and a step takes as long as all that is in it. TPOT spreads
# the pause over sixty tokens, and it becomes a few milliseconds. **TPOT averages stalls away.** Look at the longest gap.
#
# On a large model it is no different. OPT-13B on an A100 writes a token in about 20 ms; a prompt of 2,048 tokens takes
# a quarter of a second, as you will see below.
#
# ## The idea: a prompt need not be computed at once
#
# The cache makes it possible (lesson 02). What is computed stays. So a prompt can be cut into **chunks**, and each step
# carries one chunk beside everybody's next token. This is **chunked prefill**
# ([Sarathi, 2023](https://arxiv.org/abs/2308.16369)).
#
# ```text
#  whole     │ d d d │ P P P P P P P P P P P P  d d d │ d d d │ d d d │
#                     └──── everybody waits ─────────┘
#  chunked   │ d d d │ P P P P d d d │ P P P P d d d │ P P P P d d d │ d d d │
#
#  d: a decode's token    P: tokens of the prompt
# ```
#
# ## Build it 1: cut
#
# After the last token of a prompt, the network's output says which token comes next: it is **sampled**, and the answer
# begins.
#
# **Predict:** how often do you sample while a prompt of 7 tokens is computed in chunks of 3?

# %% exercise="chunked_prefill.chunks"

# %%
for num_tokens, chunk_size in ((7, 3), (6, 3), (2, 3)):
    print(f"{num_tokens} tokens by {chunk_size}:", chunks(num_tokens, chunk_size))

# %% [markdown]
# Once. Inside of a prompt the next token is known already: the user wrote it. To sample there would be to put words into
# somebody's mouth.
#
# ## Build it 2: the mask of a chunk
#
# A chunk's tokens are queries. The keys are in the cache: those of earlier chunks, those of this one, and behind them
# room in which there is nothing yet. Here is the mask of a first chunk of three tokens, as in lesson 01, with room for
# eight keys.

# %%
first = [[key <= row for key in range(8)] for row in range(3)]
Drawing(mask_grid({"the first chunk: positions 0 to 2": first}))

# %% [markdown]
# **Predict:** draw the mask of the second chunk, positions 3 to 5. How many cells are filled?

# %% exercise="chunked_prefill.chunk_mask"

# %%
second, third = chunk_mask(3, 3, 8), chunk_mask(6, 1, 8)
Drawing(mask_grid({"the second chunk": second.tolist()}, start=3))

# %%
print("pairs of a token and a key:", sum(map(sum, first)), int(second.sum()), int(third.sum()))
print("the whole prompt at once:  ", sum(range(1, 8)))

# %% [markdown]
# No pair is lost, none is new. So nothing that is computed can change. Now let the real model read a prompt in your
# chunks, with your mask. (It computes in 64 bits here, so that rounding cannot hide or make a difference. The unused
# room of its cache is filled with noise.)

# %%
exact = load_model("tiny", dtype="float64")
prompt = exact.encode(real.NOTE)
at_once = real.sampled(exact, prompt, [(0, len(prompt), True)])
cut = chunks(len(prompt), 64)
in_chunks = real.sampled(exact, prompt, cut, chunk_mask)
assert in_chunks == at_once, "another token: do the chunks and the mask belong together?"
print(f"{len(prompt)} tokens, {len(cut)} chunks; next comes {exact.decode(at_once)!r} both ways")

# %% [markdown]
# And if every chunk were masked as if it were the first?

# %%
as_the_first = real.sampled(exact, prompt, cut, lambda start, n, room: chunk_mask(0, n, room))
print(f"next comes {exact.decode(as_the_first)!r}")
assert as_the_first != at_once, "the wrong mask gives the same token"

# %% [markdown]
# No error, no warning, another answer. Such a bug is found by comparing tokens, or not at all.
#
# ## Build it 3: fill a budget
#
# How large a chunk? Do not fix the size of chunks. Fix the size of the **step**: at most so many tokens, decodes and
# prompts together, the **token budget**. Sarathi-Serve
# ([OSDI'24, Algorithm 3](https://www.usenix.org/conference/osdi24/presentation/agrawal)) fills it in this order:
#
# 1. one token for everybody who decodes;
# 2. a prompt that is under way;
# 3. prompts that wait, in order of arrival.
#
# This is what you can ask for. There is memory for everybody here: what to do when there is not, you know from
# lesson 07.
#
# | ask | and you get |
# |:--|:--|
# | `view.decoding` | sequences that write their answers: each has one token to compute. Go through them with `for` |
# | `view.prefilling` | sequences on the device whose prompts are not all computed |
# | `view.waiting` | sequences that are not on the device yet, in order of arrival |
# | `draft = view.draft()` | an empty plan, which keeps count |
# | `draft.tokens_left(sequence)` | known tokens still to compute |
# | `draft.num_tokens` | tokens in the plan so far |
# | `draft.add(sequence, num_tokens)` | let it compute so many tokens in this step; one that waits joins by this |
# | `draft.plan` | the answer |
#
# When a check fails, it shows the requests as (arrives before step, prompt, answer, declared), lengths in tokens. What a
# client declares, the longest answer it allows, does not matter here. Below stands a picture: a row for each request, a
# column for each step, in the cells how many tokens are computed.

# %% exercise="chunked_prefill.Chunked"

# %% [markdown]
# Yours beside the reference, with 6 tokens a step. (If yours does not pass yet, you see the reference twice.)

# %%
requests = [(0, 2, 9, 9), (0, 3, 7, 7), (2, 13, 2, 2), (3, 3, 3, 3)]
reference = find("chunked_prefill.Chunked").reference
beside = {
    "yours": serve_in_steps(Chunked(6), requests, num_blocks=99),
    "the reference": serve_in_steps(reference(6), requests, num_blocks=99),
}
print(steps_summary(beside))
Drawing(steps_grid(beside, budget=6))

# %% [markdown]
# The blue rows have no hole. The long prompt gets what they leave, and the last step of it is shared with the next one's
# beginning.
#
# **Predict:** four people read, and the budget is 4. A fifth arrives. When does the fifth begin?

# %%
crowd = [(0, 1, 8, 8), (0, 1, 6, 6), (0, 1, 8, 8), (0, 1, 9, 9), (2, 5, 2, 2)]
crowded = {"a budget of 4": serve_in_steps(Chunked(4), crowd, num_blocks=99)}
Drawing(steps_grid(crowded, starved=[4], budget=4))

# %% [markdown]
# Not before somebody ends. Decodes take the whole budget, and nothing is left for prompts. It cannot get worse than that:
# nobody new joins, so the decodes cannot become more than the budget. But a budget must be far above the number of
# people who read. Real ones have hundreds or thousands of tokens.
#
# ## The same on the real model
#
# Your scheduler serves the two readers and the letter, with 128 tokens a step. First, are the tokens the same? (In 64 bits
# again, with a shorter letter.)

# %%
short = [real.serve_once(exact, each, real.NOTE).tokens for each in (Orca(8), Chunked(64))]
assert short[0] == short[1], "chunks have changed a token"
print(f"{sum(map(len, short[0]))} tokens, all the same")

# %% [markdown]
# **Predict:** how long is the readers' longest gap now? And who pays?

# %% tags=["nbval-ignore-output"]
chunked = real.serve(model, Chunked(128), runs=2)
print("whole prompts:", real.say(whole))
print("128 tokens:   ", real.say(chunked))
assert chunked.gap_s < whole.gap_s, "no shorter: was something else running on this machine? Run the cell again"

# %% tags=["nbval-ignore-output"]
streams = {"whole prompts": whole.reader_s, "128 tokens": chunked.reader_s}
token_gaps(streams, limit_s=whole.gap_s / 2, title="The first reader, twice")

# %% tags=["nbval-ignore-output"]
tokens_of_steps = [sum(chunk.num_tokens for chunk in s.chunks) for s in chunked.history.steps]
assert max(tokens_of_steps) == 128, "the largest step must fill the budget, and no more"
timelines({"whole prompts": whole.run, "128 tokens": chunked.run}, "The same, on the real model")

# %% [markdown]
# The stall is gone. In its place the readers have a slow stretch: each step carries a chunk. If they wait less at once,
# who waits more? Other budgets:

# %% tags=["nbval-ignore-output"]
swept = {budget: real.serve(model, Chunked(budget), runs=2) for budget in (16, 64, 256)}
for budget, served in (swept | {"whole": whole}).items():
    print(f"{budget:>5}, {len(served.history.steps):>3} steps: {real.say(served)}")
disturbed = "was something else running on this machine? Run the cell again"
assert swept[16].gap_s < whole.gap_s, disturbed
assert swept[16].letter_ttft_s > swept[256].letter_ttft_s, disturbed

# %% [markdown]
# The smaller the budget, the shorter the longest gap. But with 16 tokens a step the letter needs about a hundred steps,
# and each has to call all the operators of the network anew (lesson 03): the letter's TTFT grows. Do not trust small
# differences here, a machine with neighbours is noisy. (With so small a budget, TPOT can even look better: the readers are
# done before the letter is. Only the letter pays.)
#
# ## And on an A100 that you do not have
#
# The same class on a simulated A100 with OPT-13B. Twenty requests arrive, four a second; five of them have prompts of
# 2,048 tokens. The last row is whole prompts.


# %%
def show(points) -> None:
    print("budget   TTFT long  TTFT short   TPOT  longest gap   (ms)")
    for budget, *seconds in points:
        long, short, tpot, gap = (1e3 * second for second in seconds)
        print(f"{budget:>6} {long:>11,.0f} {short:>11,.0f} {tpot:>6.0f} {gap:>12,.0f}")


points, gaps_s = explorer.tried(2048, 4, explorer.A100, Chunked)
show(points)

# %% [markdown]
# Go up from the row of 2,048. Each time the budget is halved, the longest gap nearly is, too. At 128 the long prompts have
# a TTFT a fifth longer than whole ones, the short ones pay nothing, and TPOT has *fallen*. Then the bargain ends. From 128 to 64 the gap gains next to nothing, and
# TTFT doubles. There is a **knee**.
#
# Now the same load on two cores with the tiny model (steps as measured on a quiet machine):

# %%
show(explorer.tried(2048, 4, explorer.TINY, Chunked)[0])

# %% [markdown]
# No knee. Here, too, the longest gap shrinks again and again. But TTFT of long prompts grows with every step down, and
# below 1,024 that of short ones as well: at 128 both are more than half above those of whole prompts. Why?
#
# ## Why they differ
#
# Ask what a chunk adds to a step. 16 people decode, each with 512 tokens in the cache. How many times as long does their
# step take if it carries some tokens of a prompt as well?

# %%
times = prices.beside_decodes()
for name, values in times.items():
    beside = dict(zip(prices.SIZES, values, strict=True))
    print(f"{name:<29}", "  ".join(f"{size}: {beside[size]:.2f}" for size in (64, 128, 256, 512)))
prices.chunk_prices(times)

# %% [markdown]
# - **A100 and H100, by the roofline** (lesson 03). A decode step waits for memory: all the weights are read, and each is
#   used for 16 tokens only. Meanwhile the arithmetic is idle. Tokens of a prompt use the same weights, so they ride along
#   nearly free, until arithmetic takes as long as reading. That is the knee.
# - **The tiny model.** Its step waits for nothing that more tokens could share. To call the operators takes 5 ms, whatever
#   they compute, and then each token of a prompt costs 0.1 ms, the first as much as the last (see below). Nothing is idle,
#   so nothing is free.
# - **A100, fits added up.** The times that DistServe's authors fitted are for prompts alone and decodes alone. Nobody has
#   published constants for a step with both. If one takes the larger of the two constants and adds up all the rest, no
#   reading hides behind arithmetic, and nothing is free either.

# %%
for num_tokens in (0, 100, 200):
    tiny_ms = 1e3 * prices.step_s(explorer.TINY, 0, 0, 0, num_tokens)
    print(f"tiny model, {num_tokens:>3} tokens of a prompt alone: {tiny_ms:4.1f} ms")

# %% [markdown]
# So for the same A100 there are two answers, and it matters which is right. The dots decide as far as we can: we
# measured it, on an H100 (a network of OPT-13B's shape, steps replayed as CUDA graphs, so without the work that an
# engine does between steps).

# %%
conditions, measured = mixed_steps.load()
print(f"{conditions['gpu']}, torch {conditions['torch']}: {len(measured)} kinds of steps")
errors = [prices.step_s(explorer.H100, *step) / seconds - 1 for step, seconds in measured.items()]
half = np.median(np.abs(errors))
print(f"roofline / measured: half of them within {half:.0%}, worst {min(errors):+.0%}")

# %% [markdown]
# The roofline was not fitted to these steps, and it is close. A chunk of 128 tokens makes the step 18% longer, not 5% as
# the roofline says, but far from the 50% that adding up gives for the A100. Riding along is real.
#
# One row stands out, the worst. 64 decodes and 768 tokens of a prompt, 832 in all, take longer than 64 and 1,024:

# %%
for size in (512, 768, 1024):
    step_ms = 1e3 * prices.step_s(prices.MEASURED, 64, 512, 0, size)
    print(f"64 decodes and {size:>4} tokens: {step_ms:.1f} ms")

# %% [markdown]
# Matrix products are computed in tiles, and some sizes fall into them badly. Sarathi-Serve reports that a chunk of 257
# tokens takes 32% longer than one of 256 ([section 4.3](https://arxiv.org/abs/2403.02310)). So do not assume that a smaller
# step is a shorter one. Measure.
#
# ## Build it 4: choose the budget
#
# A small budget keeps gaps short, a large one wastes less. So take the **largest that keeps the limit on the gap**.

# %% exercise="chunked_prefill.largest_budget"

# %% [markdown]
# Sarathi-Serve's limits are 5 and 25 times a decode step (of 32 sequences with 4,096 tokens each), strict and relaxed. That
# is for a model whose cache is small; we take 32 sequences with 512 tokens.

# %%
decode_s = prices.step_s(explorer.A100, 32, 512, 0, 0)
for name, factor in (("very strict", 2), ("strict", 5), ("relaxed", 25)):
    limit_s = factor * decode_s
    by_tpot = max(b for b, gaps in gaps_s.items() if np.mean(gaps) <= limit_s)
    budget = largest_budget(gaps_s, limit_s)
    print(f"{name}, {1e3 * limit_s:3.0f} ms: budget {budget}; by the mean gap {by_tpot}")

# %% [markdown]
# The mean never objects. It would let whole prompts run in every case, with stalls of a quarter of a second.
#
# ## Explore
#
# The scheduler is yours if it passes, and so is the choice of the budget: the dashed line across the right curves. Red
# lines in the timeline are stalls, gaps longer than the limit. (4,096: whole prompts.)

# %% id="explore"
explorer.explorer(Chunked, largest_budget)

# %% [markdown]
# Five things to try:
#
# 1. The budget from 4,096 down to 64. When are all stalls gone? When does TTFT begin to suffer, and whose?
# 2. The machine *fits added up*. Which budget would you choose now, and at what price?
# 3. The *H100*, with 128, 256 and 512 tokens. Where is its knee?
# 4. The *tiny model*. Is there a budget that makes nothing worse?
# 5. Eight requests a second on the A100, and 64 tokens. What happens to short prompts?
#
# <details><summary>What you should have seen</summary>
#
# 1. With 512 no gap is longer than 100 ms. TTFT of long prompts suffers at 64, and short ones wait behind them.
# 2. With 512 again, and TTFT of long prompts is two fifths longer than whole. At 128 it is more than twice as long.
# 3. Between 256 and 128: more arithmetic for each byte than an A100 means that more tokens ride along.
# 4. No. TTFT of long prompts grows with every step down.
# 5. They wait for two thirds of a second. 64 tokens a step, decodes included, are fewer than arrive, and the queue grows.
#    Best for them is 1,024.
# </details>
#
# ## What got worse
#
# - **TTFT of long prompts.** They get a part of each step instead of a whole one.
# - **A slow stretch instead of a stall.** Every step with a chunk is longer than one without.
# - **Small chunks waste the machine.** Below the knee it reads all the weights for too few tokens.
# - **Keys and values are read again.** Each chunk looks back at all the chunks before it. How often?
#
# ## Build it 5: what is read again

# %% exercise="chunked_prefill.keys_read"

# %%
for num_chunks in (1, 4, 8, 16):
    num_loads = keys_read(num_chunks * 128, 128) // 128
    print(f"{num_chunks:>2} chunks: {num_loads:>3} chunks of keys are read", end=", ")
    print(f"N(N+1)/2 = {num_chunks * (num_chunks + 1) // 2}")

# %% [markdown]
# It grows with the square of the number of chunks. Is that much? In bytes (a key comes with its value, in all layers and
# heads) and milliseconds, for OPT-13B on an A100:

# %%
opt, a100 = load_shape("opt-13b"), load_hardware("a100-80gb")
for num_tokens, chunk_size in ((2048, 512), (2048, 128), (16384, 512), (16384, 128)):
    read_bytes = keys_read(num_tokens, chunk_size) * opt.kv_bytes_per_token
    read_ms = 1e3 * read_bytes / a100.memory_bandwidth_bytes_s
    prompt_ms = 1e3 * prices.prompt_s(explorer.A100, [(0, num_tokens, True)])
    print(f"{num_tokens:>6} tokens by {chunk_size}: {read_bytes / 1e9:>4.0f} GB, {read_ms:>4.0f} ms", end=";")
    print(f" the whole prompt takes {prompt_ms:,.0f} ms: {read_ms / prompt_ms:.1%}")

# %% [markdown]
# (OPT itself reads 2,048 tokens; the last two rows say what it would cost.)
#
# ## Where two papers disagree
#
# [DistServe (OSDI'24, section 2.3)](https://arxiv.org/abs/2401.09670) says that chunked prefill cannot have both: prefill
# and decode belong on separate GPUs (lesson 11). It has three reasons:
#
# - **(a)** chunks well below what saturates the GPU make prefill slower;
# - **(b)** chunks near saturation leave few places for decodes in the step;
# - **(c)** keys and values are read again, N(N+1)/2 chunks instead of N.
#
# [Sarathi-Serve (OSDI'24, sections 4.3 and 5.4.1)](https://arxiv.org/abs/2403.02310) answers: even in small chunks the
# attention of a prompt is bound by arithmetic, so reading again costs little; and measures at most about 25% more prefill
# time with chunks of 512, and about nothing with 2,048 (Yi-34B on two A100).
#
# **Predict:** who is right? First (a) and (c) together: a prompt of 2,048 tokens alone, in chunks.

# %%
sizes = (128, 256, 512, 1024)
for machine in (explorer.A100, explorer.ADDED, prices.MEASURED):
    whole_s = prices.prompt_s(machine, [(0, 2048, True)])
    more = [prices.prompt_s(machine, chunks(2048, size)) / whole_s - 1 for size in sizes]
    said = [f"{size:>4}: {share:+5.0%}" for size, share in zip(sizes, more, strict=True)]
    print(f"{machine:<29}", "  ".join(said))

# %% [markdown]
# Both are. At 512, DistServe's own fits give 24% more and our H100 gives 15%: within what Sarathi-Serve measured. At 128,
# the same fits and the same H100 say more than twice as long: DistServe's (a). They speak of different chunks. (By the
# roofline, 128 is an A100's knee, and little is lost there; an H100's is at twice that.)
#
# Next (b). What do decodes leave of a budget?

# %%
for budget in (128, 512, 2048):
    left = ", ".join(f"beside {num} decodes {budget - num}" for num in (16, 64, 100))
    print(f"budget {budget:>4}: tokens for a prompt {left}")

# %% [markdown]
# A decode is one token. A hundred of them take a fifth of 512, and most of 128. So (b) hurts whoever needs small steps,
# again.
#
# Last (c). Every key that a chunk reads meets all tokens of the chunk, and with GQA all heads that share it. A number in it
# has two bytes, and is multiplied and added once each time: one FLOP per byte. So the arithmetic intensity (lesson 03) is
# tokens times heads, and the ridge of an A100 is at 153 FLOPs per byte.

# %%
for name in ("opt-13b", "llama-3.1-8b"):
    shape = load_shape(name)
    per_key = shape.num_heads // shape.num_kv_heads
    intensities = ", ".join(f"{size}: {size * per_key}" for size in (64, 128, 512))
    print(f"{shape.name:<13} FLOPs per byte of chunks of {intensities}")
print(f"ridge of the A100: {a100.ridge_flops_per_byte:.0f}")

# %% [markdown]
# With a chunk of 512, reading hides behind arithmetic in both models. With 64, only in the one with GQA. Sarathi-Serve's
# models have GQA; DistServe chose OPT, which has not, for its large caches. Both chose fairly, and each found what it said.
#
# And they do not count the same thing. Sarathi-Serve's limit is on the 99th percentile of all gaps; DistServe's is on
# TPOT, a mean, which you have seen hide a stall. So:
#
# | you need | then |
# |:--|:--|
# | gaps of a few decode steps, prompts that are not urgent | chunks, with the budget at the knee |
# | prompts at full speed *and* short gaps | separate GPUs: lesson 11 |
# | throughput alone, nobody reading along | a large budget, or whole prompts |
#
# ## Where published systems stand
#
# | what | number | source |
# |:--|:--|:--|
# | gap when whole prompts share steps with decodes, against decodes alone | up to 28.3 times | [Sarathi-Serve](https://arxiv.org/abs/2403.02310), section 4.2 |
# | one decode token costs, in the matrices, as much as | about 128 prefill tokens (Mistral-7B, A100) | the same, section 3.1 |
# | token budgets used | 512 strict; 2,048 relaxed | the same, section 5.1 |
# | load within the limit on gaps, against vLLM of then | 2.6 times (Mistral-7B, one A100), up to 3.7 (Yi-34B, two A100) | the same, abstract |
# | median TTFT, P99 gap: whole prompts mixed in | 0.53 s, 0.68 s | the same, table 4 (Yi-34B, ShareGPT) |
# | chunks, not mixed with decodes | 1.04 s, 0.17 s | the same |
# | chunks, mixed | 0.76 s, 0.14 s | the same |
# | rate within both limits, split against chunked (DeepSpeed-MII), chat | 1.6 to 7.4 times | [DistServe](https://arxiv.org/abs/2401.09670), section 6.2 |
#
# The last row compares two engines, each with kernels of its own: not all of it need be due to the split.
#
# ## Take away
#
# 1. **A step takes as long as all that is in it.** A long prompt in one step is everybody's stall, and TPOT hides it: look
#    at the longest gap.
# 2. **Fix the tokens of a step, decodes first.** Cut prompts to what is left. Every token stays the same, if each chunk
#    sees all that came before it and nothing behind.
# 3. **The right budget is at the knee.** Where decode waits for memory, a chunk rides along nearly free; below the knee it
#    wastes the machine. Where nothing is idle, nothing is free. Measure yours.

# %%
scorecard("chunked_prefill")
