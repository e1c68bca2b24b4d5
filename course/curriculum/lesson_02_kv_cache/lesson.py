# ruff: noqa: D100, D103, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - write a decode step with a KV cache, and put it into a real model;
# - prove that the cache changes no token, and measure what it saves;
# - say why generation has two phases, prefill and decode;
# - compute how much memory the cache takes, for any model, and how many sequences fit on a GPU.
#
# You need lesson 01: queries, keys, values, and the causal mask. There are five exercises of one to five lines. If
# you leave one open, the lesson goes on with the reference.

# %%
import math

import torch
from torch import Tensor

from course.curriculum.lesson_02_kv_cache import explorer
from course.curriculum.lesson_02_kv_cache.exercises import rotate
from course.curriculum.lesson_02_kv_cache.tiny import TinyModel, Watched
from course.exercises import exercise, scorecard, start
from course.figures import cached_vs_uncached

start("kv_cache")

# %% [markdown]
# ## A number that hurts
#
# This is how a language model writes. It reads the text and says which token follows. Then it reads the text again,
# one token longer.


# %%
def without_cache(model, prompt: list[int], num_tokens: int) -> list[int]:
    text = list(prompt)
    for _ in range(num_tokens):
        token, _ = model.step(text, model.empty_cache())  # the whole text, every time
        text.append(token)
    return text[len(prompt) :]


# %% [markdown]
# Here it writes with the tiny model of the course. Do not expect much of its style.

# %% tags=["nbval-ignore-output"]
tiny = TinyModel()
prompt = tiny.encode("The function returns")
answer = without_cache(tiny, prompt, 16)
assert len(answer) == 16
print(tiny.decode(prompt), "→", *tiny.decode(answer).split())

# %% [markdown]
# **Predict:** the text gets 16 times as long. How much longer does one more token take?

# %% tags=["nbval-ignore-output"]
long_text = tiny.encode("A list holds values in order. " * 120)
token_ms = {}
for length in (50, 100, 200, 400, 800):
    watch = Watched(tiny)
    without_cache(watch, long_text[: length - 2], 3)
    token_ms[length] = 1000 * min(watch.seconds)
    print(f"behind {length:>3} tokens: {token_ms[length]:6.1f} ms for the next one")
assert token_ms[800] > 2 * token_ms[50]

# %% [markdown]
# Each token makes the next one slower. The reader of a long answer watches it slow down. And nearly all of this is
# work that was done before: of 800 tokens, 799 went through the model for the token before, too.
#
# ## Predict
#
# A prompt of 200 tokens, an answer of 60. If every token went through the model only once, how many times less work
# would that be? Put your guess here.

# %%
my_guess = 2

# %%
again = sum(200 + written for written in range(60))  # the whole text for each token
once = 200 + 59  # the last token of the answer need not go in
print(f"the whole text each time: {again:,} tokens    once each: {once}    {again / once:.0f} times less")
print(f"your guess: {my_guess} times less")

# %% [markdown]
# ## The idea: keep keys and values
#
# Lesson 01 said that the model is causal: what it has computed for a token stays right, whatever is written later. So
# the keys and values of a token should stay, too. We read ten tokens, and then the same ten with one more behind
# them.

# %%
_, ten = tiny.step(long_text[:10], tiny.empty_cache())
_, eleven = tiny.step(long_text[:11], tiny.empty_cache())
for (keys, values), (later_keys, later_values) in zip(ten, eleven, strict=True):
    assert later_keys[:, :10].allclose(keys, atol=1e-4)
    assert later_values[:, :10].allclose(values, atol=1e-4)
print(f"{len(ten)} layers: keys of ten tokens {list(keys.shape)}, of eleven {list(later_keys.shape)}")
print("the first ten are the same")

# %% [markdown]
# So keep them. Per layer, a pair (keys, values) of shape [KV heads, tokens, head_dim] is the **KV cache**. The next
# token needs nothing else of the past: its query is compared with the kept keys, and mixes the kept values.
#
# | in each layer, for token n | without cache | with cache |
# |:--|:--|:--|
# | goes through the weights | n tokens | 1 token |
# | queries | [heads, n, d] | [heads, **1**, d] |
# | keys and values, new | [KV heads, n, d] | [KV heads, **1**, d] |
# | keys and values, looked at | [KV heads, n, d] | [KV heads, n, d]: n − 1 are read from the cache |
# | scores | [heads, n, n] | [heads, **1**, n] |
#
# **Predict:** why is there no cache of queries?
#
# <details><summary>Answer</summary>
#
# The query of token n is used in row n of the scores and nowhere else. Later tokens compare *their own* queries with
# the key of token n. So a query is needed once.
# </details>

# %% [markdown]
# ## Build it 1: the cache grows

# %% exercise="kv_cache.append"

# %% [markdown]
# ## Build it 2: who may see whom
#
# New tokens stand behind the cached ones. With three tokens cached and two new ones (· may be seen, × may not):
#
#                cached     new
#     column     0  1  2    3  4
#     row 0      ·  ·  ·    ·  ×      the first new token, at position 3
#     row 1      ·  ·  ·    ·  ·      the second, at position 4

# %% exercise="kv_cache.visible"

# %% [markdown]
# One new token sees everything, so a decode step could do without a mask. A prompt cannot, and neither can a prompt
# of which the beginning is cached.

# %%
print(visible(num_new=1, num_cached=3).int())
print(visible(num_new=2, num_cached=3).int())

# %% [markdown]
# ## Build it 3: a step with a cache
#
# In lesson 01, queries and keys were turned by an angle that grows with the position
# ([RoPE](https://arxiv.org/abs/2104.09864)); that is how the model knows the order of the tokens. Here
# `rotate(heads, positions)` does it. A token of two numbers, at three positions:

# %%
one_token = torch.tensor([[[1.0, 0.0]]])  # one head, one token, two numbers
for position in (0, 1, 2):
    turned = rotate(one_token, torch.tensor([position])).flatten()
    print(f"at position {position}: ({turned[0]:5.2f}, {turned[1]:5.2f})")

# %% [markdown]
# Without a cache, positions are 0, 1, 2 and so on. With a cache the new token comes alone. Where does it stand?

# %% exercise="kv_cache.attend"

# %% [markdown]
# Old against new: six tokens at once, and then five, with the sixth behind the cache.

# %%
torch.manual_seed(0)
query, key, value = torch.randn(4, 6, 8), torch.randn(2, 6, 8), torch.randn(2, 6, 8)
empty = (torch.zeros(2, 0, 8), torch.zeros(2, 0, 8))

whole, _ = attend(query, key, value, empty)
_, cache = attend(query[:, :5], key[:, :5], value[:, :5], empty)
last, cache = attend(query[:, 5:], key[:, 5:], value[:, 5:], cache)

assert last.allclose(whole[:, 5:], atol=1e-5)
print(f"output of the sixth token {list(last.shape)}: the same; cached keys {list(cache[0].shape)}")

# %% [markdown]
# ## Build it 4: prefill, then decode
#
# `attend` takes any number of new tokens. So one function serves both: the whole prompt at once, with an empty cache,
# and then token by token.

# %% exercise="kv_cache.generate"

# %% [markdown]
# ## The same on the real model
#
# `TinyModel(attend)` is the tiny model with `attend` in each of its layers. `Watched` notes what goes through it.
#
# First the proof. **Does the cache change the answer?**

# %% tags=["nbval-ignore-output"]
cached = Watched(TinyModel(attend))
answer = generate(cached, prompt, 40)
assert answer == without_cache(tiny, prompt, 40)
print(tiny.decode(prompt), "→", *tiny.decode(answer).split()[:12], "…")

# %% [markdown]
# It does not: 40 tokens, all equal. And this is what went through the model, step by step:

# %%
print(cached.num_tokens)

# %% [markdown]
# There are your two phases. The first step takes the whole prompt. It is the **prefill**, and TTFT is its time. All
# others take one token. They are **decode** steps, and TPOT is theirs. Nobody designed two phases: they are what a
# cache makes of the loop.
#
# Now the time, with a longer prompt.

# %% tags=["nbval-ignore-output"]
cached, uncached = Watched(TinyModel(attend)), Watched(tiny)
generate(cached, long_text[:300], 20)
without_cache(uncached, long_text[:300], 20)
assert sum(cached.seconds) < 0.7 * sum(uncached.seconds)
cached_vs_uncached(cached.seconds, uncached.seconds, "Time for each token: the tiny model, here")

# %% [markdown]
# The first token takes as long as before: TTFT gains nothing. Every later one comes sooner: all the gain is in TPOT.
#
# Now compare the phases with each other. What does one token cost in each?

# %% tags=["nbval-ignore-output"]
prefill_ms = 1000 * cached.seconds[0]
decode_ms = 1000 * sorted(cached.seconds[1:])[9]  # the one in the middle
print(f"prefill: {prefill_ms:.1f} ms for 300 tokens, {prefill_ms / 300:.2f} ms each")
print(f"decode:  {decode_ms:.1f} ms for one token")
assert decode_ms > 2 * prefill_ms / 300

# %% [markdown]
# A token costs much more alone than in company. A decode step reads all the weights of the model, for a single token.
# In a prefill, hundreds of tokens share them. That is why the two phases want different things of a machine. Lesson
# 03 puts numbers on it.
#
# ## Explore: time
#
# The same on a large model. Your `generate` runs here with a model that computes nothing and knows how long it would
# take. The times are fits to measurements by the authors of DistServe
# ([`profiler-a100-80g.distserve.json`](https://github.com/LLMServe/DistServe/tree/main/simdistserve/estimators/profile_data)),
# for one request alone on the machine.

# %%
explorer.time_explorer(generate)

# %% [markdown]
# Three things to try:
#
# 1. A short prompt. Is the cache still worth it?
# 2. A long one. Which of the two curves moves, and where is TTFT?
# 3. With a cache, does a decode step behind 1,024 tokens take longer than one behind 16?
#
# <details><summary>What you should have seen</summary>
#
# 1. Hardly. With a few tokens, a prefill takes little longer than a decode step: both read all the weights.
# 2. The one without a cache. TTFT is the first point, the same on both curves.
# 3. Hardly: here, reading the weights takes much longer than looking back. But it does grow.
# </details>

# %% [markdown]
# ## What got worse: memory
#
# Time was saved by keeping things. What does one token keep?
#
# Models differ in how many heads share keys and values. In multi-head attention (**MHA**) each query head has its
# own. In grouped-query attention (**GQA**) a group shares them. In multi-query attention (**MQA**) all do.
#
# ## Build it 5: bytes per token

# %% exercise="kv_cache.kv_bytes"

# %% [markdown]
# The formula against the memory itself. The tiny model has 8 query heads, 4 KV heads, and numbers of 4 bytes.

# %%
_, layers = tiny.step(long_text[:100], tiny.empty_cache())
held = sum(part.nbytes for pair in layers for part in pair)
c = tiny.config
computed = 100 * kv_bytes(c.num_layers, c.num_heads, c.num_kv_heads, c.head_dim, element_bytes=4)
print(f"held by the cache: {held:,} bytes    computed: {computed:,} bytes")
assert held == computed

# %% [markdown]
# Now large models, with 2 bytes per number. First one shape, shared in three ways:

# %%
for kind, num_kv_heads in (("MHA", 32), ("GQA", 8), ("MQA", 1)):
    per_token = kv_bytes(num_layers=32, num_heads=32, num_kv_heads=num_kv_heads, head_dim=128)
    print(f"{kind}: {num_kv_heads:>2} KV heads, {per_token / 1024:>3.0f} KiB per token")

# %% [markdown]
# Then two without sharing. OPT-13B has 40 layers and 40 heads of 128 numbers; OPT-66B has 64 layers and 72 such
# heads.

# %%
opt_13b, opt_66b = kv_bytes(40, 40, 40, 128), kv_bytes(64, 72, 72, 128)
print(f"OPT-13B: {opt_13b / 2**20:.2f} MiB per token")
print(f"OPT-66B: {opt_66b / 2**20:.2f} MiB per token")
print(f"         {512 * opt_66b / 2**30:.3f} GiB for 512 tokens")

# %% [markdown]
# The [DistServe paper](https://arxiv.org/abs/2401.09670) (section 3.3) says 1.13 GB for those 512 tokens. Its GB are
# GiB:
#
#     2 (K and V) · 64 layers · 72 heads · 128 numbers · 2 bytes · 512 tokens
#         = 1,207,959,552 bytes = 1.125 GiB
#
# More than a gigabyte, for a single prompt.
#
# ## Explore: memory
#
# A GPU holds the weights first. What is left is for the cache, and it decides how many can be served at once. Your
# `kv_bytes` computes it.

# %%
explorer.explorer(kv_bytes)

# %% [markdown]
# Three things to try:
#
# 1. How many sequences of 2,048 tokens fit beside OPT-13B on one GPU?
# 2. *Llama-2-7B* (MHA) against *Llama-3-8B* (GQA): nearly the same weights. What happens to the line?
# 3. Double the context. What happens to the number of sequences?
#
# <details><summary>What you should have seen</summary>
#
# 1. 32.
# 2. Nearly four times as many fit: 128 KiB per token instead of 512 KiB.
# 3. It halves. Many short texts and a few long ones fill the same memory.
# </details>

# %% [markdown]
# Is that good enough to plan with? The authors of DistServe list how many tokens the caches of their system hold, on
# A100 GPUs of 80 GB. We take the weights away from the memory, and divide.

# %%
theirs = [  # weights in bytes, layers, heads, GPUs, tokens
    ("OPT-13B", 26e9, 40, 40, 1, 66_144),
    ("OPT-13B", 26e9, 40, 40, 4, 356_736),
    ("OPT-66B", 132e9, 64, 72, 4, 78_496),
    ("OPT-175B", 350e9, 96, 96, 8, 59_520),
]
for name, weights, num_layers, num_heads, gpus, tokens in theirs:
    ours = (gpus * 80e9 - weights) / kv_bytes(num_layers, num_heads, num_heads, 128)
    off = ours / tokens - 1
    print(f"{name:<8} on {gpus} A100: theirs {tokens:>7,} tokens, ours {ours:>7,.0f}: {off:+.1%}")
    assert abs(off) < 0.05

# %% [markdown]
# A few percent off, for a calculation on a napkin. It leaves no room for what a step computes in between. (The
# weights are from their [Table 1](https://arxiv.org/abs/2401.09670), the tokens from
# [`max_num_tokens.csv`](https://github.com/LLMServe/DistServe/tree/main/simdistserve/estimators/profile_data).)
#
# Two more things got worse:
#
# - **The cache grows with every token**, and nobody knows how long an answer gets. Our `append` copies the whole cache to
#   make it one token longer. Lesson 05 does better.
# - **A decode step is inefficient.** It reads all weights to make one token. Serving many at once shares them, and that
#   takes memory for many caches.
#
# ## Where published systems stand
#
# | what | number | source |
# |:--|:--|:--|
# | OPT-13B on a 40 GB A100 | about 65% of the memory is weights, about 30% KV cache | [vLLM](https://arxiv.org/abs/2309.06180), section 1 |
# | systems before vLLM: the part of KV memory that held tokens | 20.4% to 38.2% | [vLLM](https://arxiv.org/abs/2309.06180), section 1 |
# | Llama-3-70B, KV cache | 320 KB per token; 1 TB holds about 3 million | [Mooncake](https://www.usenix.org/conference/fast25/presentation/qin), section 5.3.1 |
# | OPT-66B, KV of 512 tokens, moved at 10 requests/s | 90 Gbit/s | [DistServe](https://arxiv.org/abs/2401.09670), section 3.3 |
#
# You can check three of the four.

# %%
llama_70b = kv_bytes(num_layers=80, num_heads=64, num_kv_heads=8, head_dim=128)
print(f"OPT-13B: 26 of 40 GB are {26 / 40:.0%}; 30% hold {0.3 * 40e9 / opt_13b:,.0f} tokens")
print(f"Llama-3-70B: {llama_70b / 1024:.0f} KiB per token, {1e12 / llama_70b / 1e6:.1f} million in 1 TB")
print(f"OPT-66B: {10 * 512 * opt_66b * 8 / 2**30:.0f} Gibit per second")

# %% [markdown]
# The second row is lesson 05. The last one is lesson 11: the cache of one machine can be sent to another.
#
# ## Take away
#
# 1. **The cache makes two phases.** Prefill takes the prompt at once and sets TTFT. Decode takes one token at a time and
#    sets TPOT.
# 2. **It changes no token.** New tokens stand behind the cached ones: their positions begin there, and their mask shows
#    all that is cached.
# 3. **It costs memory:** 2 · layers · KV heads · head_dim · bytes, for each token. Memory now decides how many can be
#    served at once.

# %%
scorecard("kv_cache")
