# ruff: noqa: D100, D103, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - compute a softmax in pieces, and attention tile by tile, without ever having the big matrix;
# - count the bytes that both ways move, and say what that does to TTFT;
# - split a long cache into parts, attend to each by itself and merge what comes out;
# - put all of this into a real model, and show that its answers stay the same.
#
# You need attention and its causal mask (lesson 01), prefill and decode (lesson 02), and that an operator takes as long
# as its arithmetic or its bytes, whichever is longer (lesson 03). There are five exercises of three to nine lines. If
# you leave one open, the lesson goes on with the reference.

# %%
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from course.curriculum.lesson_04_flash_attention import explorer, real
from course.exercises import exercise, scorecard, start
from course.model.attention.watch import AttentionWatch
from course.simulator.tiles import on_chip, tiled

torch.set_num_threads(1)
start("flash_attention")

# %% [markdown]
# ## A number that hurts
#
# This is the attention of lesson 01, for one head: scores, hide the future, softmax, weighted mean.


# %%
def naive_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    scores = queries @ keys.T / math.sqrt(queries.shape[1])
    future = torch.ones(scores.shape, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(dim=1) @ values


# %% [markdown]
# **Predict:** the prompt gets eight times as long. How many times as much memory does it take on the way?

# %%
my_guess = 8


# %%
def vectors(num_tokens: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(num_tokens, 64) for _ in ("queries", "keys", "values")]


def peak_bytes(attention: Callable, num_tokens: int) -> int:
    with AttentionWatch() as watch:  # notes the memory of all that torch makes meanwhile
        attention(*vectors(num_tokens))
    return watch.peak_bytes


# %%
for n in (512, 1024, 2048, 4096):
    most, answer = peak_bytes(naive_attention, n) / 2**20, n * 64 * 4 / 2**20
    print(f"{n:>5} tokens: {most:5.1f} MiB at the same time, for an answer of {answer:.2f} MiB")
growth = peak_bytes(naive_attention, 4096) / peak_bytes(naive_attention, 512)
print(f"{growth:.0f} times as much; your guess: {my_guess}")

# %% [markdown]
# Eight times the tokens, and nearly 64 times the memory: there is a score for each pair. And this is one head of one
# layer. Llama-3.1-8B has 32 heads of 128 numbers in each layer. A prompt of 32,768 tokens, in numbers of two bytes:

# %%
print(f"the scores of one layer: {32 * 32768 * 32768 * 2 / 2**30:.0f} GiB")
print(f"queries, keys, values and outputs of one layer: {4 * 32 * 32768 * 128 * 2 / 2**30:.0f} GiB")

# %% [markdown]
# An A100 has 80 GB, and the model itself takes 16 of them. Scores become weights of attention, another 64 GiB. And the model
# reads up to 131,072 tokens: four times as many, so 16 times the scores. Yet it is served on such GPUs every day. How?
#
# ## The idea: never have the matrix
#
# Nobody wants the scores. They are made, turned into weights, multiplied with values, and thrown away. In between they
# go to memory and come back, twice. A GPU has two kinds of memory:
#
# | of an A100 | holds | bytes per second |
# |:--|:--|:--|
# | memory (HBM), beside the chip | 80 GB | 2 TB/s |
# | fast memory (SRAM), on the chip, in 108 parts | 192 KiB each | about 19 TB/s |
#
# (The first row is the datasheet's, the second from NVIDIA's A100 whitepaper and
# [FlashAttention](https://arxiv.org/abs/2205.14135), figure 1.)
#
# So cut the matrix into **tiles** so small that all that belongs to one fits on the chip. Bring some queries, let keys
# and values pass by, a tile at a time, and write nothing but the output.
#
# What is in the way? The softmax. It divides by the sum of a whole row, and subtracts the largest score of the row first,
# because exp of a large number is infinite. Both seem to need all scores of the row at once.
#
# **Predict:** you have summed exp(score − 3), because 3 was the largest so far. Now comes a score of 5. What can be done
# with the old sum?
#
# <details><summary>Answer</summary>
#
# exp(score − 5) = exp(score − 3) · exp(3 − 5). So multiply it by exp(−2), about 0.14, and go on. Nothing has to be read
# again.
# </details>
#
# ## Build it 1: a softmax in pieces
#
# Two numbers for each row are enough: the largest score so far, and the sum measured from it. This is called **online
# softmax** ([Milakov and Gimelshein, 2018](https://arxiv.org/abs/1805.02867)).
#
# Useful: `scores.amax(dim=1)` is the largest of each row, `torch.maximum(a, b)` takes the larger of two numbers, place
# by place, and `largest[:, None]` makes a column, so that [rows, columns] − [rows, 1] is row by row.

# %% exercise="flash_attention.update"

# %% [markdown]
# A row in two halves. The second half has larger scores.

# %%
row = torch.tensor([[1.0, 3.0, 2.0, 5.0, 4.0, 0.0]])
largest, total = torch.tensor([-math.inf]), torch.zeros(1)
for half in row.split(3, dim=1):
    largest, total = update(largest, total, half)
    print(f"scores {half[0].tolist()}: largest {largest.item():.0f}, sum {total.item():.4f}")
assert torch.allclose((row - largest[:, None]).exp() / total[:, None], row.softmax(dim=1))
print("the same softmax as of the whole row")

# %% [markdown]
# ## Build it 2: attention, tile by tile
#
# The output can be treated like the sum: it is a sum too, of exp(score − largest) · value. When a larger score comes, it
# shrinks by the same factor. Only at the end is it divided.
#
#     for each tile of queries, from top on:               these stay
#         for each tile of keys and values, from left on:  these pass
#             scores of the tile                           [tile, tile]
#             largest, total                               one number for each query
#             output                                       one vector for each query
#         output / total                                   written, once
#
# To hide the future, compare places in the text. With `torch.arange(top, …)` for the queries and `torch.arange(left, …)`
# for the keys, `of_keys > of_queries[:, None]` compares every pair, and `scores.masked_fill(future, -math.inf)` gives
# the scores with the future hidden: exp(−inf) is 0.

# %% exercise="flash_attention.tiled_attention"

# %% [markdown]
# Old against new: with a prompt that does not fill its last tile, and with torch's own.

# %%
parts = vectors(300)
mine = tiled_attention(*parts, tile=64)
fused = scaled_dot_product_attention(*(part[None, None] for part in parts), is_causal=True)[0, 0]
assert torch.allclose(mine, naive_attention(*parts), atol=1e-5)
assert torch.allclose(mine, fused, atol=1e-5)
print("300 tokens in tiles of 64: equal to the big matrix, and to torch")

# %% [markdown]
# Equal means: up to rounding, because sums are taken in another order. It is not an approximation.
#
# **Predict:** in Python, a loop over tiles. Is yours slower than the five lines?


# %% tags=["nbval-ignore-output"]
def torchs_own(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    q, k, v = queries[None, None], keys[None, None], values[None, None]
    return scaled_dot_product_attention(q, k, v, is_causal=True)[0, 0]


def yours(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return tiled_attention(queries, keys, values, tile=128)


ways = {"big matrix": naive_attention, "yours": yours, "torch": torchs_own}


def best_ms(num_tokens: int) -> dict[str, float]:
    """The best of three for each way, in turn; time of this process, whatever else the machine does."""
    parts, best = vectors(num_tokens), dict.fromkeys(ways, math.inf)
    for _ in range(3):
        for name, attention in ways.items():
            began = time.process_time()
            attention(*parts)
            best[name] = min(best[name], 1e3 * (time.process_time() - began))
    return best


for n in (256, 1024, 4096):
    took, peak = best_ms(n), {name: peak_bytes(attention, n) for name, attention in ways.items()}
    for name in ways:
        print(f"{n:>5} tokens, {name:<10} {took[name]:7.1f} ms, {peak[name] / 2**20:6.1f} MiB at most")
assert peak["yours"] < peak["big matrix"] / 20, "tiles should take a small part of the memory"
assert took["yours"] < 2 * took["big matrix"], "at 4,096 tokens tiles should not be much slower"

# %% [markdown]
# Your memory grows with the tokens, not with their square. And at 4,096 tokens your loop is the faster one, though it is
# Python: a processor has fast memory on its chip, too, and tiles stay in it. (Torch's function is made of tiles as well,
# in C++. What it takes and gives back inside is not counted.)
#
# ## Explore: which tile, when?
#
# Your `tiled_attention` runs, and we note which keys it reads for which queries. Move the first slider.

# %%
explorer.tiles_explorer(tiled_attention)

# %% [markdown]
# Three things to try:
#
# 1. Move *how far* from 0 to 100. Which way do the tiles go, and when is an output written?
# 2. Half as large a tile. What becomes twice as much?
# 3. A tile as long as the prompt. How many bytes move now? Why is it not always done like that?
#
# <details><summary>What you should have seen</summary>
#
# 1. Along the rows, up to the diagonal. An output is written when its row of tiles is through.
# 2. About: the keys and values that move. They are read again for each tile of queries, and there are twice as many.
# 3. Every vector once, and less is impossible. But the scores of that one tile are the big matrix again, and no chip holds it.
# </details>
#
# ## Build it 3 and 4: count the bytes
#
# First the big matrix. Three steps, and each reads from memory and writes to it:
#
#     queries, keys    →  scores      [tokens, tokens]
#     scores           →  weights     [tokens, tokens]
#     weights, values  →  outputs

# %% exercise="flash_attention.naive_bytes"

# %% [markdown]
# Now the tiles. With six tokens in tiles of two, the first tile of queries reads two keys, the second four, the third six.

# %% exercise="flash_attention.tiled_bytes"

# %% [markdown]
# Does your formula count what your code does? We let the code run and count the rows that it really reads.

# %%
for n, tile in ((256, 64), (300, 64), (100, 7)):
    q, k, v = vectors(n)
    with AttentionWatch(q, k) as watch:
        tiled_attention(q, k, v, tile)
    rows = sum(last - first for _, (first, last) in watch.reads)
    num_bytes = tiled_bytes(n, 64, tile)
    assert 2 * 64 * (2 * n + 2 * rows) == num_bytes
    print(f"{n} tokens in tiles of {tile}: {rows:,} rows of keys, {num_bytes:,} bytes")

# %% [markdown]
# **Predict:** 8,192 tokens, heads of 128. At which tile do you move less than the big matrix does?

# %%
for tile in (8, 16, 32, 64, 128, 256):
    times = naive_bytes(8192, 128) / tiled_bytes(8192, 128, tile)
    chip = 2 * on_chip(tile, 128) / 1024
    verdict = "" if chip <= 192 else ": too much"
    print(f"tiles of {tile:>3}: matrix / tiles = {times:4.2f}, {chip:3.0f} KiB on the chip{verdict}")

# %% [markdown]
# Small tiles are worse than no tiles. The chip decides what can be gained: on an A100 tiles of 128 fit, with all that
# belongs to them. (We count tiles of queries, keys, values and outputs, and the tile of scores, two bytes each. Real
# kernels keep part of that in registers, of which there are another 256 KiB, in 32 bits.)
#
# ## Version 2
#
# The first [FlashAttention](https://arxiv.org/abs/2205.14135) (2022) let a tile of *keys* stay while all queries pass.
# [FlashAttention-2](https://arxiv.org/abs/2307.08691) (2023) turned it round: what you have built. That changes three
# numbers. Here is one head of 8,192 tokens, in tiles of 128:

# %%
first, second = tiled(8192, 128, 128, "keys stay"), tiled(8192, 128, 128, "queries stay")
for name, work in (("keys stay", first), ("queries stay", second)):
    matmul_us, other_us = 1e6 * work.matmul_flops / 312e12, 1e6 * work.other_flops / 19.5e12
    moved_mb = 2 * work.moved / 1e6
    print(f"{name:<13} {moved_mb:.0f} MB; products {matmul_us:.0f} µs, the rest {other_us:.1f} µs")

# %% [markdown]
# - **Fewer bytes.** If keys stay, each query's output has to come and go with each tile of keys.
# - **Less arithmetic that is no matrix product.** An A100 does 312 TFLOP/s in products and 19.5 in everything else, so
#   such a FLOP is 16 times as expensive. Version 1 divides the output by the sum in each tile. Version 2 divides at the
#   end, as you do.
# - **More to do at the same time.** If queries stay, their tiles have nothing to do with one another. So each can go to
#   another of the 108 parts of the chip, its streaming multiprocessors (SMs). Version 1 gave each SM a head:

# %%
for heads, n in ((32, 2048), (32, 32768)):
    print(f"{heads} heads, one prompt of {n:>6,} tokens:", end=" ")
    print(f"version 1 has {heads} pieces of work for 108 SMs, version 2 has {heads * n // 128:,}")

# %% [markdown]
# The fourth change is inside an SM. It runs groups of 32 threads, **warps**. Version 1 gave each warp some of the *keys*,
# and then the warps had to add up their parts of the output through fast memory. Version 2 gives each some of the
# *queries*. Then nothing has to be added.
#
# ## Decode: one query
#
# All of this was prefill. In a decode step there is one query. Its scores are a single row, so there is no big matrix to
# avoid. But there is nothing to hand out to the SMs either:
#
# **Predict:** one user, a cache of 32,768 tokens, 8 KV heads, 108 SMs. How many are busy? What would you do?
#
# <details><summary>Answer</summary>
#
# Eight, one for each KV head. Cut the cache into parts, and give each part to an SM. But then each has only a part of the
# row, and somebody must put the parts together.
# </details>
#
# ## Build it 5: merge
#
# A part hands back its output, a mean of values that is already divided. And one number that tells how much its scores
# weigh: the logarithm of its sum of exp(score), the **log-sum-exp**, in short lse. (The sum itself could be too large to
# be written down.)

# %% exercise="flash_attention.merge"


# %%
def attend_to(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    return scores.softmax(dim=1) @ values, scores.logsumexp(dim=1)


torch.manual_seed(0)
scores, values = 3 * torch.randn(2, 10), torch.randn(10, 4)
whole, lse = attend_to(scores, values)
left, right = attend_to(scores[:, :7], values[:7]), attend_to(scores[:, 7:], values[7:])
output, merged_lse = merge(*left, *right)
average = (left[0] + right[0]) / 2
print(f"merged, off by {(output - whole).abs().max():.0e}")
print(f"as a plain average, off by {(average - whole).abs().max():.1f}")
assert torch.allclose(output, whole, atol=1e-5)
assert torch.allclose(merged_lse, lse, atol=1e-5)

# %% [markdown]
# What comes out is again an output and an lse. So many parts can be merged, in any order. That is how
# [Flash-Decoding](https://pytorch.org/blog/flash-decoding/) keeps a GPU busy with one long cache.
# [FlashInfer](https://arxiv.org/abs/2501.01005) goes on: it cuts all caches of a batch, long ones and short ones, into parts
# of about the same work, so that all SMs are done at the same time.
#
# ## Explore: TTFT and TPOT
#
# Llama-3.1-8B on an A100, one user. Your two counts of bytes are at work; arithmetic or bytes, the longer decides. For the
# decode step we assume that each SM gets its share of the bandwidth and no more, and that every KV head and part has an SM
# of its own.

# %%
explorer.ways_explorer(naive_bytes, tiled_bytes)

# %% [markdown]
# Four things to try:
#
# 1. The prompt from 1,024 to 131,072. When does the big matrix become most of TTFT?
# 2. Tiles of 16. What happens?
# 3. Fast memory of 48 KiB. Why does it matter?
# 4. 32,768 tokens, and the parts from 1 to 16. What happens to TPOT, and why not more after that?
#
# <details><summary>What you should have seen</summary>
#
# 1. Between 8,192 and 16,384. With tiles, only between 32,768 and 65,536. Then its arithmetic counts: still a square.
# 2. TTFT is *worse* than with the matrix: keys and values are read all the time.
# 3. Only tiles of 32 fit, and they gain nothing. FlashAttention is made for a chip, and for the size of its memory.
# 4. It falls from 36 to 10 ms. With 16 parts 8 KV heads have 128 pieces of work, more than there are SMs. The rest is
#    reading the weights.
# </details>
#
# ## The same on the real model
#
# Now both functions go into the tiny model. Its prompts go through your `tiled_attention`, head by head, in tiles of 32.
# In a decode step its KV cache is cut into two halves, and your `merge` puts them together.

# %%
pieces = real.InPieces(tiled_attention, merge, tile=32, num_parts=2)
text = real.tiny().encode("A list holds values in order. A dictionary maps keys to values. " * 8)[:120]
difference = (real.next_logits(text, pieces) - real.next_logits(text)).abs().max().item()
print(f"{len(text)} tokens: {pieces.num_tiled} heads in tiles, {pieces.num_merged} merges")
assert difference < 1e-9, f"the logits differ by {difference:.0e}"
print("the logits agree in nine decimals")

# %% [markdown]
# (The model has 6 layers of 8 heads. Of the last layer only the last token of a prompt is needed, so there the prompt is
# a single query, too: 5 · 8 heads in tiles, and 1 + 6 merges.)

# %%
prompt = "The function returns"
answer = real.write(prompt, 20, real.InPieces(tiled_attention, merge))
assert answer == real.write(prompt, 20)
print(len(answer), "tokens, all the same:", *real.tiny().decode(answer).split())

# %% [markdown]
# What if the halves were averaged?


# %%
def plain_average(output_a, lse_a, output_b, lse_b):
    return (output_a + output_b) / 2, torch.logaddexp(lse_a, lse_b)


wrong = real.write(prompt, 20, real.InPieces(tiled_attention, plain_average))
same = sum(one == other for one, other in zip(wrong, answer, strict=True))
print(f"{same} of {len(answer)} tokens the same:", *real.tiny().decode(wrong).split())
assert same < len(answer)

# %% [markdown]
# ## What got worse
#
# - **Nobody can look at the weights any more.** The pictures of lesson 01 need the matrix.
# - **More arithmetic.** Each tile rescales its outputs. And the square is still there: twice the prompt means four times the
#   arithmetic of attention. Only its bytes have become fewer.
# - **Other last digits.** Sums are taken in another order, and the order depends on the tile. Two scores that nearly tie
#   may change places. So the running numbers are kept in 32 bits, even where keys have 16:

# %%
for dtype in (torch.bfloat16, torch.float32):
    running = torch.zeros((), dtype=dtype)
    for _ in range(1000):
        running += 1
    print(f"1,000 times 1, summed in {dtype}: {running.item():.0f}")

# %% [markdown]
# - **A program for each chip.** Five lines became a kernel that knows how large its memory is. For new GPUs it is written
#   anew.
#
# ## Where published systems stand
#
# | what | number | source |
# |:--|:--|:--|
# | one layer of GPT-2 medium, training, A100: bytes moved, with the matrix and with tiles | 40.3 GB, 4.4 GB | [FlashAttention](https://arxiv.org/abs/2205.14135), figure 2 |
# | the same: time | 41.7 ms, 7.3 ms | the same |
# | the same: arithmetic | 66.6, 75.2 GFLOPs | the same |
# | training, end to end: BERT-large; GPT-2 with 1,000 tokens | 15% faster; 3 times as fast | [FlashAttention](https://arxiv.org/abs/2205.14135), abstract |
# | share of an A100's peak, version 1; version 2 | 25–40%; 50–73% | [FlashAttention-2](https://arxiv.org/abs/2307.08691), abstract |
# | answers to very long prompts, with caches in parts | up to 8 times as fast | [Flash-Decoding](https://pytorch.org/blog/flash-decoding/) |
# | time between tokens, FlashInfer against kernels from compilers | 29–69% less | [FlashInfer](https://arxiv.org/abs/2501.01005), abstract |
#
# The third row is the surprise: tiles do *more* arithmetic, because in training some of it is done twice, and take a sixth
# of the time. Can bytes explain that? That A100 has the smaller memory of 40 GB, which moves 1.5 TB a second.

# %%
for name, gigabytes, took_ms in (("with the matrix", 40.3, 41.7), ("with tiles", 4.4, 7.3)):
    print(f"{name:<16} {gigabytes:4.1f} GB take {gigabytes / 1.5:4.1f} ms at best, measured {took_ms} ms")

# %% [markdown]
# With the matrix, most of the time is moving bytes. With tiles, it is no longer.
#
# ## Take away
#
# 1. **A softmax can be taken in pieces.** Keep the largest score and the sum, and rescale what you have when a larger one
#    comes. Exact, not approximate.
# 2. **Tiles keep the matrix out of memory**, and pay by reading keys again for each tile of queries. The larger the tile the
#    fewer bytes, and the chip says how large. Less time in attention is a shorter TTFT.
# 3. **Parts can be merged by their log-sum-exp.** So one long cache can keep a whole GPU busy, and that is a shorter
#    TPOT.

# %%
scorecard("flash_attention")
