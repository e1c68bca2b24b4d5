# ruff: noqa: D100, D103, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - say where KV memory goes when a server sets it aside for answers of unknown length;
# - write a block allocator with reference counts and copy-on-write, and run the engine with it;
# - compute what a block size wastes, and what it buys;
# - say what happens when memory runs out in the middle of an answer, and show that no token changes.
#
# You need lesson 02: the KV cache and what it takes. There are four exercises, of one line to a dozen. If you leave one
# open, the lesson goes on with the reference.

# %%
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from course.curriculum.lesson_05_paged_kv import explorer
from course.curriculum.lesson_05_paged_kv.served import held_by, serve_all, tiny, workload
from course.engine.local import LocalEngine
from course.engine.sampling import Sampling
from course.exercises import exercise, scorecard, start
from course.figures import Held, block_map
from course.serving.allocator import pool_of
from course.serving.schedulers import PrefillFirst

start("paged_kv")

# %% [markdown]
# ## A number that hurts
#
# Twenty users ask the tiny model, all at once. Each sends a short prompt and says, as clients do, "at most 240 tokens,
# please". The server has KV memory for 1,024 tokens.
#
# Our first server is careful. It starts a request only when it can set memory aside for the whole prompt **and** all
# 240 tokens. This is what [Orca](https://www.usenix.org/conference/osdi22/presentation/yu) does.

# %%
SLOTS = 1024
users = workload(20, declared=240)
careful = serve_all(LocalEngine(tiny(), "orca", num_blocks=SLOTS // 16), users)
print(f"answered at the same time: {max(careful.num_running)} of {len(users.requests)}")
print(f"steps until all had their answer: {careful.num_steps}")
print(f"memory that held a token, in the mean: {careful.mean_share(SLOTS):.0%}")

# %% [markdown]
# Three at a time, and most of the memory is empty. Everybody else waits, which is TTFT. What is the empty memory kept
# for?

# %%
lengths = [one.num_prompt_tokens + users.output_lengths[one.id] for one in users.requests]
kept = [request.num_prompt_tokens + 240 for request in users.requests]
print(f"kept for each: {np.mean(kept):.0f} tokens;", end=" ")
print(f"used in the end: {np.mean(lengths):.0f}, at most {max(lengths)}")

# %% [markdown]
# The server cannot know how long an answer gets. So it keeps what was declared, and most of it is never used.
#
# ## Predict
#
# Suppose memory were taken only when a token needs it. How many of the twenty could be answered at the same time, with
# the same 1,024 slots? Put your guess here.

# %%
my_guess = 5

# %% [markdown]
# The answer comes when you have built it.
#
# ## The idea: blocks and block tables
#
# A cache that must lie in one piece has to be planned for its whole length. So cut it. The memory becomes **blocks** of a
# few tokens each, and a sequence takes one more when it needs one, from anywhere. Its **block table** says which:
#
#     tokens of A      0  1  2  3 | 4  5  6  7 | 8  9
#     table of A          [5           2           0]      block_size = 4
#
# So token 6 of A is in block 2, at place 2. This is how operating systems give memory to programs, in pages, and so
# vLLM's authors called it [PagedAttention](https://arxiv.org/abs/2309.06180). Here are A and another sequence, B, in a
# memory of 12 blocks:

# %%
block_map(12, 4, {"A": Held([5, 2, 0], 10), "B": Held([3, 7], 5)})

# %% [markdown]
# The bar in a square is as long as the tokens in it. What is wasted is the empty part of each **last** block. Nothing
# else.
#
# ## Build it 1: how many blocks

# %% exercise="paged_kv.blocks_needed"

# %% [markdown]
# What does the block size cost? Take our users' real lengths, and count the slots that stay empty in the end:

# %%
for block_size in (1, 4, 16, 64, 256):
    slots = [block_size * blocks_needed(length, block_size) for length in lengths]
    tables = sum(blocks_needed(length, block_size) for length in lengths)
    empty = 1 - sum(lengths) / sum(slots)
    print(f"blocks of {block_size:>3}: {empty:>4.0%} empty, {tables:>5} numbers in the tables")

# %% [markdown]
# Small blocks waste nothing and make long tables. Large blocks become the reservation that we wanted to get rid of. 16 is
# vLLM's default.
#
# ## Build it 2: read through the table
#
# Attention wants the keys of a sequence in the order of its tokens. They lie in blocks now, [num_blocks, block_size,
# head_dim], between the keys of others.

# %% exercise="paged_kv.gather"

# %%
memory = torch.arange(24).reshape(6, 4, 1)  # 6 blocks of 4; each key is one number here
print(gather(memory, table=[5, 2, 0], num_tokens=10).flatten().tolist())

# %% [markdown]
# ## Build it 3: who holds what
#
# Somebody must know which blocks are free. And two sequences can hold the same block: if a user wants three answers to one
# prompt, the prompt's keys are needed only once. So each block counts its holders.
#
# | event | what happens |
# |:--|:--|
# | `allocate(2)` | two free blocks are taken, with one reference each |
# | `fork(table)` | a second sequence goes on from here: one reference more for each block |
# | `free(table)` | one reference less for each block; at 0 it is free again |
#
# Two things must never happen. A block that somebody holds is given away: then two users write into the same keys. Or a
# block that nobody holds is not free: then memory leaks, and some day the server is full of nothing.

# %% exercise="paged_kv.BlockAllocator"

# %% [markdown]
# A leak looks like this. Here somebody forgets a table:

# %%
allocator = BlockAllocator(12)
a, b = allocator.allocate(3), allocator.allocate(2)
twin = allocator.fork(a)
forgotten = allocator.allocate(2)
block_map(12, 4, {"A": Held(a, 12), "B": Held(b, 6), "T": Held(twin, 12)}, allocator.free_blocks)

# %% [markdown]
# ## Build it 4: one more token
#
# A and its twin share their blocks. As long as both only read, that is fine. Now one of them writes its next token. If the
# last block is full, it takes a new one, and nothing happens to the twin. If not, the token would go into a block that the
# twin reads, too. Then it needs a block of its own, with a copy of what stood there. This is **copy-on-write**.

# %% exercise="paged_kv.append_slot"

# %% [markdown]
# See it work. A has 6 tokens in blocks of 4, and T is its twin. Each writes one token.

# %%
allocator = BlockAllocator(12)
a = allocator.allocate(blocks_needed(6, 4))
t = allocator.fork(a)
first, second = append_slot(allocator, a, 6, 4), append_slot(allocator, t, 6, 4)
assert first
assert second is None
what = f"A had to copy block {first[0]} to {first[1]}"
block_map(12, 4, {"A": Held(a, 7), "T": Held(t, 7)}, allocator.free_blocks, what)

# %% [markdown]
# **Predict:** why did the second writer not have to copy?
#
# <details><summary>Answer</summary>
#
# When A left the shared block, T was its only holder. One copy for two writers: the last one keeps the original.
# </details>
#
# ## The same on the real model
#
# Now your allocator gives the engine its blocks. `pool_of` puts it behind the interface that the engine knows. First three
# answers to one prompt, stopped in the middle:

# %%
own_pool = pool_of(BlockAllocator)
engine = LocalEngine(tiny(), "prefill-first", num_blocks=24, block_size=8, make_pool=own_pool)
mine = engine.instance.memory.pool.allocator
prompt = tiny().encode("A list holds values in order. " * 3)
engine.submit(prompt, 20, Sampling(temperature=1.0), n=3, ignore_end=True)
engine.submit(tiny().encode("The function returns"), 20, ignore_end=True)
for _ in range(8):
    engine.step()
held = held_by(engine)
block_map(24, 8, held, mine.free_blocks, "Three answers to one prompt (A, B, C), and another (D)")

# %%
shared = set(held["A"].table) & set(held["B"].table) & set(held["C"].table)
print(f"blocks that A, B and C share: {len(shared)}")
while engine.num_unfinished:
    engine.step()
assert sorted(mine.free_blocks) == list(range(24))
assert not any(mine.references)
print("all answers have ended: every block is free again")

# %% [markdown]
# Now the twenty users. The same memory, and nothing is set aside.

# %%
engine = LocalEngine(tiny(), "prefill-first", num_blocks=SLOTS // 16, make_pool=own_pool)
paged = serve_all(engine, users)
for name, run in (("set aside", careful), ("paged", paged)):
    share = run.mean_share(SLOTS)
    print(f"{name:>9}: {max(run.num_running):>2} at the same time, {run.num_steps} steps,", end=" ")
    print(f"{share:.0%} of the memory holds tokens")
print(f"your guess: {my_guess} at the same time")
assert paged.answers == careful.answers

# %% [markdown]
# Everybody got the same tokens, in about a quarter of the steps. (The model computes in double precision here, so that
# who shares the batch cannot change a token by a last digit.)
#
# ## What got worse: memory can run out
#
# With memory set aside, whoever has begun can end. Now all sequences grow, and at some step there may be no block left.
# Somebody must give way, and go on later: this is **preemption**. vLLM takes the one that came last. There are two ways to
# bring it back:
#
# - **recompute**: drop its blocks, and later compute prompt and answer so far in one prefill;
# - **swap**: copy its blocks to the memory of the host, and later copy them back.
#
# **Predict:** which of them changes the answer?

# %%
few = workload(12, declared=240)
ample = serve_all(LocalEngine(tiny(), PrefillFirst(), num_blocks=256), few)
runs = {}
for way in ("recompute", "swap"):
    engine = LocalEngine(tiny(), PrefillFirst(preempt=way), num_blocks=20, num_host_blocks=64)
    runs[way] = run = serve_all(engine, few)
    assert run.answers == ample.answers
    extra = run.num_computed - ample.num_computed
    print(f"{way:>9}: {run.num_preemptions} preemptions, {extra} tokens computed again,", end=" ")
    print(f"{run.num_moved_blocks} blocks moved")
print(f"all {sum(map(len, ample.answers.values()))} tokens as with ample memory")

# %% [markdown]
# Neither. Both cost time: one computes, the other moves bytes. Which is cheaper depends on the machine and on the size of
# a block; vLLM's answer is in the table below. For the user whose answer is interrupted, it is a pause in the stream:

# %%
for name, run in (("ample memory", ample), *runs.items()):
    worst = max((np.diff(steps) for steps in run.token_steps.values()), key=max)
    print(f"{name:>12}: at most {max(worst):>2} steps from a token to the next;", end=" ")
    print(f"the mean of that answer is {worst.mean():.1f}")

# %% [markdown]
# TPOT is that mean: it hides most of the pause. A reader does not overlook it. So preemption should be rare. It is the price
# of not keeping memory for the worst case.
#
# A second thing got worse: attention has to look up where things are. How long does it take to read the keys of 2,048
# tokens in blocks, compared with a copy of the same bytes in one piece?

# %% tags=["nbval-ignore-output"]
keys = torch.randn(512, 16, 128)
table = torch.randperm(512)[:128].tolist()


def best_ms(read: Callable[[], Tensor]) -> float:
    times = []
    for _ in range(20):
        began = time.perf_counter()
        read()
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)


in_blocks = best_ms(lambda: gather(keys, table, 2048))
in_one_piece = best_ms(lambda: keys[:128].flatten(0, 1)[:2048].clone())
assert torch.equal(gather(keys, table, 2048)[:16], keys[table[0]])
print(f"in one piece {in_one_piece:.3f} ms, through the table {in_blocks:.3f} ms")

# %% [markdown]
# Looking up and collecting costs more than a copy in one piece. An attention kernel does better: it reads the keys where
# they are, once, and collects nothing. But it follows the table, too; the table of published numbers below says how
# much that costs.
#
# ## Explore
#
# Now a large model, OPT-13B on an A100, on the virtual clock. Four servers get the same requests and the same memory:
#
# - **Max** keeps 2,048 tokens for each request, the longest there can be;
# - **Pow2** keeps the next power of two above the answer's real length, as if users knew it roughly;
# - **Oracle** knows the length of every answer, which nobody can;
# - **paged** takes blocks as they are needed, from **your allocator**.
#
# The first three need memory in one piece, and their allocator gives it in powers of two. That is how the vLLM paper
# compares itself with Orca. Step times are DistServe's fit to vLLM
# ([`profiler-a100-80g.vllm.json`](https://github.com/LLMServe/DistServe/tree/main/simdistserve/estimators/profile_data));
# the lengths are a lognormal stand-in for ShareGPT, whose distribution is not published with the paper.

# %%
explorer.explorer(BlockAllocator)

# %% [markdown]
# Four things to try:
#
# 1. Look at Oracle. It knows everything. Why does it still waste memory?
# 2. Double the memory again and again. When does it stop to matter who manages it?
# 3. Answers of 32 tokens. Which server is the best one now?
# 4. Blocks of 256 tokens. What changes, and what does not?
#
# <details><summary>What you should have seen</summary>
#
# 1. It keeps memory for the whole answer from the first token on, and gets it rounded up to a power of two.
# 2. With 48 GiB everybody fits, all TTFTs are short, and the bars differ only in what is idle.
# 3. They are alike: short answers leave quickly, so few run at the same time, and nobody waits.
# 4. More of the memory is kept and never used. TTFT suffers only where memory is short.
# </details>
#
# And TPOT? It is the one number that is **better** where fewer run: a step of a small batch is shorter. Paged memory trades
# a little TPOT for a lot of TTFT. Here are both, and how many run:

# %%
settings = {"memory_gib": 12, "rate": 2, "answer_tokens": 256, "block_size": 16}
runs = explorer.ways(**settings, allocator=BlockAllocator)
for name, run in runs.items():
    print(f"{name:>6}: {run.num_sequences:4.1f} run, TTFT {run.ttft_s:6.2f} s,", end=" ")
    print(f"TPOT {1e3 * run.tpot_s:.0f} ms")

# %% [markdown]
# ## Where published systems stand
#
# | what | number | source |
# |:--|:--|:--|
# | systems before vLLM: the part of KV memory that held tokens | 20.4% (Max) to 38.2% (Oracle) | [vLLM](https://arxiv.org/abs/2309.06180), figure 2 |
# | requests in a batch, OPT-13B: vLLM against Orca (Oracle), Orca (Max) | 2.2×, 4.3× | [vLLM](https://arxiv.org/abs/2309.06180), section 6 |
# | request rate at the same latency, ShareGPT, against Oracle, Max | 1.7–2.7×, 2.7–8× | [vLLM](https://arxiv.org/abs/2309.06180), section 6 |
# | blocks saved by sharing the prompt, parallel answers, Alpaca | 6.1–9.8% | [vLLM](https://arxiv.org/abs/2309.06180), section 6 |
# | attention through block tables, against FasterTransformer | 20–26% slower | [vLLM](https://arxiv.org/abs/2309.06180), section 7.1 |
# | recompute or swap | recompute with small blocks, swap with large, alike from 16 to 64 | [vLLM](https://arxiv.org/abs/2309.06180), section 7.3 |
#
# Here are the first two rows beside the run above.

# %%
paged_run = runs["paged"]
for name, share, factor in (("Max", 0.204, 4.3), ("Oracle", 0.382, 2.2)):
    run = runs[name]
    more = paged_run.num_sequences / run.num_sequences
    print(f"{name:>6}: holds tokens, theirs {share:.1%}, here {run.tokens:.1%};", end=" ")
    print(f"paged runs {factor}x, here {more:.1f}x as many")
    assert abs(run.tokens - share) < 0.1

# %% [markdown]
# The shares agree within a few points. The factors are smaller here: at 2 requests per second, our paged server has
# nobody waiting and memory to spare. `python -m course reproduce orca-reservation` compares a longer run with all
# shares of the figure.
#
# ## Take away
#
# 1. **Memory decides how many are served at once.** Set aside for the worst case, most of it stays empty, and users wait:
#    TTFT.
# 2. **Blocks waste only the end of the last one.** A table finds them, reference counts let sequences share them, and
#    copy-on-write keeps them apart.
# 3. **Nothing is promised any more.** When blocks run out, somebody gives way, by recompute or by swap. No token changes;
#    the stream pauses.
#
# What if two *different* users ask nearly the same? Their blocks could be shared, too. That is lesson 06.

# %%
scorecard("paged_kv")
