# ruff: noqa: D100, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - give a block of KV memory a name, so that another request finds it and no wrong request does;
# - write a prefix cache: what is found, what is kept, and what goes first when room is needed;
# - run the engine with it, and show that no token changes;
# - say when such a cache helps, whom it makes wait, and what it gives away.
#
# You need lesson 02 (the KV cache) and lesson 05 (blocks and block tables). There are four exercises, of four to a dozen
# lines. If you leave one open, the lesson goes on with the reference.

# %%
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from course.curriculum.lesson_06_prefix_cache import explorer, real, replay
from course.exercises import exercise, scorecard, start
from course.figures import Drawing, blocks_of, prefix_tree
from course.serving.prefix import chained_hash
from course.serving.prefix_pool import prefix_pool_of
from course.serving.schedulers import LongestPrefixFirst, PrefillFirst
from course.workload.conversations import MOONCAKE, ideal_reuse

start("prefix_cache")

# %% [markdown]
# ## A number that hurts
#
# An assistant has instructions: who it is, what it may do, a few examples. They stand before every question of every
# user, and nobody sees them. This is the **system prompt**. Ours has 800 tokens. Six people ask the tiny model, one
# after the other.

# %% tags=["nbval-ignore-output"]
texts = real.prompts(num_system_tokens=800)
real.ask(real.fresh(), texts[:1])  # the first time is always slow
plain = real.ask(real.fresh(), texts)
for question, seconds in zip(real.QUESTIONS, plain.ttft_s, strict=True):
    print(f"TTFT {1000 * seconds:4.0f} ms   … {question}")
assert plain.num_hit_tokens == 0

# %% [markdown]
# The questions have a handful of tokens. What do their authors wait for?
#
# ## Predict
#
# Of all prompt tokens that the model computed, which share had it computed before, behind the same beginning? Put your
# guess here.

# %%
my_guess = 0.5

# %%
total = sum(map(len, texts))
again = 800 * (len(texts) - 1)
print(f"{total:,} prompt tokens, {again:,} of them for the second time or more: {again / total:.0%}")
print(f"your guess: {my_guess:.0%}")

# %% [markdown]
# ## The idea: keep the blocks, and give them names
#
# When an answer has ended, its blocks are freed (lesson 05). But the keys in them are still right, for everybody whose
# prompt *begins* the same way. So leave them where they are, until the room is needed. All that is missing is a way to find
# them again.
#
# **Predict:** A block holds the keys of the tokens "open a file". Another prompt has the same three tokens in the
# middle. May it use the block?
#
# <details><summary>Answer</summary>
#
# No. Behind the first layer, a token's key depends on **all tokens before it** (and on its position). Same tokens,
# other past: other keys. It may use the block only if everything before is the same, too. So what can be shared is a
# beginning, a **prefix**.
# </details>
#
# So the name of a block must stand for its tokens and for everything before. A hash of a hash does that:
#
#     tokens     12 7 3 9  |  4 4 8 1  |  5 2
#     names      h0 = hash(0, 12 7 3 9)      h1 = hash(h0, 4 4 8 1)      not full: no name yet
#
# | | shape |
# |:--|:--|
# | tokens of a prompt | [n] |
# | its hashes | [n // block_size]: full blocks only |
# | the cache | hash → number of a block |
# | a block's keys, in each layer | [block_size, KV heads, head_dim] |
#
# ## Build it 1: names for blocks

# %% exercise="prefix_cache.block_hashes"

# %% [markdown]
# Two of the six prompts, in blocks of 16:

# %%
first, second = (block_hashes(text, 16) for text in texts[:2])
alike = sum(a == b for a, b in zip(first, second, strict=False))
print(f"{len(first)} and {len(second)} full blocks, {alike} of them have the same names")

# %% [markdown]
# **Predict:** many people put the date, or the user's name, at the very beginning of the system prompt. What does that
# do?

# %%
dated = [[17, 4, number, *text] for number, text in enumerate(texts[:2])]  # three tokens before everything
first, second = (block_hashes(text, 16) for text in dated)
print(f"the same names: {sum(a == b for a, b in zip(first, second, strict=False))} of {len(first)}")

# %% [markdown]
# Nothing is shared any more. What differs belongs at the end.
#
# ## Build it 2: what is found
#
# A prompt comes, and its hashes are looked up, from the beginning. One thing needs care. Suppose somebody asks *exactly*
# what was asked before, and all of it is cached. Then there is nothing to compute: no query, no logits, no first token
# of the answer. So the last token is always computed.

# %% exercise="prefix_cache.cached_prefix"

# %%
known = {7: 3, 8: 0, 9: 5}  # hash -> block
print("13 tokens, all 3 blocks known:", cached_prefix([7, 8, 9], known, num_tokens=13, block_size=4))
print("12 tokens, all 3 blocks known:", cached_prefix([7, 8, 9], known, num_tokens=12, block_size=4))
print("13 tokens, the second missing:", cached_prefix([7, 6, 9], known, num_tokens=13, block_size=4))

# %% [markdown]
# ## Build it 3: what is kept, and what goes
#
# Cached blocks form a tree: what stands behind a block hangs on it. Three texts here begin alike. The first is being
# answered, the others have ended.

# %%
shared, one, two, three = 1, 2, 3, 4  # stand for hashes
labels = {shared: "system", one: "question 1", two: "question 2", three: "question 3"}
tree = blocks_of({"1": [shared, one], "2": [shared, two], "3": [shared, three]}, labels, held=["1"])
Drawing(prefix_tree(tree))

# %% [markdown]
# Now somebody needs a block. Which one may go?
#
# - Never one that somebody holds: its reader would read somebody else's keys.
# - Not "system" while a question hangs on it. Without its beginning, the rest can never be found again.
# - Of the others, the one that was used longest ago: **least recently used**, LRU.
#
# And what has gone must be forgotten. Else a sequence that was preempted (it gave way, as in lesson 05) comes back, looks
# up its old names, and finds blocks that are somebody else's by now.
#
# | event | what happens |
# |:--|:--|
# | `add(hash, block)` | a block is full; the sequence that computed it holds it |
# | `hold(hashes)` | another sequence starts from these blocks |
# | `release(hashes)` | a sequence has ended, or was preempted; hashes in the order of its text |
# | `evict()` | room is needed: forget a block, and say which |

# %% exercise="prefix_cache.PrefixCache"

# %% [markdown]
# Question 2 ended first, then 3. Two blocks are needed:

# %%
cache = PrefixCache()
for block_hash, block in ((shared, 0), (one, 1), (two, 2), (three, 3)):
    cache.add(block_hash, block)
cache.hold([shared])  # by the second
cache.hold([shared])  # and the third
cache.release([shared, two])
cache.release([shared, three])
gone = [cache.evict(), cache.evict()]
print(f"evicted: blocks {gone}; can be found: {sorted(cache.block_of.values())}")
assert gone == [2, 3]

# %% [markdown]
# ## The same on the real model
#
# `prefix_pool_of` puts your cache, your search and your names behind the interface that the engine knows. The six people
# ask again. **Predict** their TTFT.

# %% tags=["nbval-ignore-output"]
mine = prefix_pool_of(PrefixCache, cached_prefix, block_hashes)
cached = real.ask(real.fresh(mine), texts)
for number, (before, after) in enumerate(zip(plain.ttft_s, cached.ttft_s, strict=True), 1):
    print(f"question {number}: {1000 * before:4.0f} ms without, {1000 * after:4.0f} ms with the cache")
best = min(cached.ttft_s[1:])  # of several times, the shortest is the one that was disturbed least
assert best < min(plain.ttft_s) / 2, "behind a cached prompt, the first token should come much sooner"

# %% [markdown]
# The first one pays for all. And the tokens?

# %%
assert cached.tokens == plain.tokens
print(f"{sum(map(len, cached.tokens))} tokens, all the same")
share = cached.num_hit_tokens / cached.num_queried_tokens
print(f"from the cache: {cached.num_hit_tokens:,} of {cached.num_queried_tokens:,} prompt tokens, {share:.0%}")

# %% [markdown]
# (The model computes in double precision here, so that the way a prompt is cut cannot change a token by a last digit.)
#
# Answers are cached, too. In a conversation, each prompt is all that was said so far, and a new question:

# %%
engine = real.fresh(mine)
text = list(texts[0])
for turn in (1, 2, 3):
    asked = real.ask(engine, [text])
    computed = asked.num_queried_tokens - asked.num_hit_tokens
    print(f"turn {turn}: {asked.num_queried_tokens} tokens, {computed} of them computed")
    text += asked.tokens[0] + real.tiny().encode(" And then? " + real.QUESTIONS[turn])

# %% [markdown]
# ## When memory is short
#
# Now there are two assistants, with a system prompt of 480 tokens each, and three people ask each of them. They come
# in turn: A, B, A, B, A, B. The memory holds 640 tokens, so one system prompt fits and two do not. One request runs at a
# time.

# %%
in_turn = [text for pair in zip(real.prompts(480, 0)[:3], real.prompts(480, 1)[:3], strict=True) for text in pair]
arrival = real.ask_together(real.fresh(mine, 40, PrefillFirst(max_num_sequences=1)), in_turn)
print(f"from the cache: {arrival.num_hit_tokens:,} of {arrival.num_queried_tokens:,} prompt tokens")

# %% [markdown]
# Each evicts what the next one would have needed, but for a few blocks. All six were waiting, though. Had the three of A
# gone first, and then those of B, most of it would have been found.
#
# ## Build it 4: whose turn is it?
#
# SGLang looks at who waits, and takes the one with the **longest cached prefix** first. There is a danger: while such
# requests keep coming, somebody who shares nothing never gets in, and **starves**. So we give each a limit to its
# patience.

# %% exercise="prefix_cache.queue_order"

# %%
by_prefix = LongestPrefixFirst.ordered_by(queue_order, max_num_sequences=1)
ordered = real.ask_together(real.fresh(mine, 40, by_prefix), in_turn)
assert ordered.tokens == arrival.tokens
for name, run in (("first come, first served", arrival), ("longest prefix first", ordered)):
    print(f"{name:>24}: {run.num_hit_tokens / run.num_queried_tokens:.0%} of the prompt tokens from the cache")
print("all tokens the same")

# %% [markdown]
# And the danger, on a simulated A100 with OPT-13B. Eighty people ask behind the same system prompt, faster than they
# can be served. One, who came as number 20, shares nothing with them.

# %%
for name, patience_s in (("longest prefix first", math.inf), ("the same, patience 3 s", 3.0)):
    odd, others = explorer.odd_one_out(queue_order, patience_s)
    print(f"{name:>24}: TTFT of the odd one {odd:5.1f} s, median of the others {others:.1f} s")

# %% [markdown]
# With endless patience, it waits until the crowd is gone. A crowd that does not go would keep it out for ever.
#
# ## Explore
#
# OPT-13B on an A100, on the virtual clock. Forty questions come behind one of several system prompts. Step times are
# DistServe's fits ([`profiler-a100-80g.distserve.json`](https://github.com/LLMServe/DistServe/tree/main/simdistserve/estimators/profile_data)).
# Cache, search and queue order are yours if they pass.

# %%
explorer.explorer(PrefixCache, cached_prefix, queue_order)

# %% [markdown]
# Four things to try:
#
# 1. Move the system prompt to 0, then up. What happens to TTFT without a cache, and with one?
# 2. The memory down to 4,000, then up to 64,000. Where do the two servers with a cache differ?
# 3. One system prompt, then 32. Which one would you rather serve?
# 4. The memory to 32,000. TPOT is shorter with the cache, though no token of an answer is ever found in it. Why?
#
# <details><summary>What you should have seen</summary>
#
# 1. Without a cache TTFT goes from under 0.1 s to seconds, though nobody asks more than before. With one it stays below
#    a third of that.
# 2. Only where memory is short. From 16,000 tokens on nothing useful is evicted, and the order does not matter. At 4,000
#    the longest prefix first finds more, and the median TTFT is shorter.
# 3. One: nearly 90% hits. With 32, most system prompts are asked for only once or twice.
# 4. Prompts are computed between the steps of the answers, and each makes the answers wait. Fewer prompt tokens, fewer
#    pauses. Without a cache TPOT is best with 4,000 tokens of memory: few run at the same time, and the others wait.
# </details>
#
# ## What would real traffic give?
#
# Mooncake, who serve Kimi, published traces with the hashes of all blocks of 512 tokens. We do not ship them. Instead we
# draw conversations with the figures that we counted in the first half of their conversation trace: 36% of the requests
# go on from an earlier prompt, half of them within two minutes; prompts have 12,800 tokens in the mean.
#
# **Predict:** which share of the blocks would a cache find that never forgets anything?

# %%
trace = MOONCAKE.rows(6_017, rate=3.2, block_tokens=512)
print(f"drawn: {ideal_reuse(trace):.1%} of the blocks were there before")
print("counted in the trace: 34.6% (its first 6,017 requests), 36.6% (all 12,031)")

# %% [markdown]
# About a third. The rest of each prompt is new, whatever the size of the cache. (With the file from
# [kvcache-ai/Mooncake](https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release/traces),
# `python -m course reproduce mooncake-reuse --data FOLDER` counts it before your eyes.) Now your cache, which does forget.
# The first 1,000 requests, about five minutes, and how much memory that is with LLaMA3-70B, which leaves 320 KiB a token:

# %%
early = trace[:1_000]
for num_tokens in (256_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000):
    found = replay.hit_rate(early, num_tokens // 512, PrefixCache, cached_prefix)
    print(f"{num_tokens / 1e6:5.2f} million tokens, {num_tokens * 327_680 / 1e12:4.2f} TB: {found:5.1%} found")
print(f"                no end of memory: {ideal_reuse(early):5.1%}")

# %% [markdown]
# The first line is the memory of a whole GPU, and it finds next to nothing. Between two turns of a conversation, in
# two minutes, 3 requests a second with 25 blocks each go by: some 9,000 blocks, or 4.6 million tokens. That is why
# Mooncake keeps its cache in the memory of the hosts and on their disks.
#
# ## What got worse
#
# **Only those who come later profit.** Two who ask at the same moment both compute:

# %%
twins = real.ask_together(real.fresh(mine), texts[:2])
print(f"both at once: {twins.num_hit_tokens} tokens from the cache")

# %% [markdown]
# **Hashing takes time**, on the CPU, for each token of each prompt, found or not:

# %% tags=["nbval-ignore-output"]
long_text = texts[0] * 12
times = []
for _ in range(5):
    began = time.process_time()
    block_hashes(long_text, 16)
    times.append(time.process_time() - began)
hashing = 1e9 * min(times) / len(long_text)
computing = 1e9 * min(plain.ttft_s) / len(texts[0])
print(f"{hashing:.0f} ns a token; {1e-6 * hashing * 50_000:.1f} ms for a prompt of 50,000")
print(f"to compute it, even with the tiny model: {computing:,.0f} ns a token")
assert hashing < computing / 10, "a token should be hashed in far less time than it is computed in"

# %% [markdown]
# **Memory is never empty again.** Cached blocks count as free, so nobody is turned away for them. But each new block now
# costs an eviction, and one long prompt that shares nothing sweeps out what everybody shares:

# %%
engine = real.fresh(mine, num_blocks=64)
real.ask(engine, texts[:1])
print("before it:", real.ask(engine, texts[1:2]).num_hit_tokens, "tokens from the cache")
stranger = list(range(100, 1_000))
real.ask(engine, [stranger])
print("after it: ", real.ask(engine, texts[2:3]).num_hit_tokens)

# %% [markdown]
# **Somebody may be watching the clock.** Whoever shares a cache with you can send a prompt and see from its TTFT whether
# somebody has sent its beginning before; above, that was the difference between question 1 and question 2. Researchers
# found caches shared between customers at [seven providers](https://arxiv.org/abs/2502.07776). The remedy is to put who
# asks into the first hash, so that only friends share (vLLM's `cache_salt`), and to share less.
#
# **Order is not fair.** The longest prefix first serves those well who ask what everybody asks.
#
# ## Where published systems stand
#
# | what | number | source |
# |:--|:--|:--|
# | hits in production, LLaVA-Next-34B and Vicuna-33B | 52.4%, 74.1%; the first token comes 1.7 times sooner | [SGLang](https://arxiv.org/abs/2312.07104) |
# | throughput with RadixAttention (a tree of tokens), on programs that share much | up to 6.4 times | [SGLang](https://arxiv.org/abs/2312.07104), abstract |
# | names of blocks: SHA-256 over parent and tokens, full blocks only | about 75 ns a token | [vLLM, design notes](https://docs.vllm.ai/en/latest/design/prefix_caching/), as of December 2025 |
# | shared system prompt of 80 and of 341 tokens, throughput | 1.67, 3.58 times | [vLLM](https://arxiv.org/abs/2309.06180), section 6 |
# | blocks that can be reused, conversation trace | 40%, and 36.6% counted in the released file | [Mooncake](https://www.usenix.org/conference/fast25/presentation/qin), table 2 |
# | tokens of cache for nearly all of the hits that there can be | about 50 million; 1 TB holds 3 million (LLaMA3-70B) | Mooncake, section 5 |
# | mean TTFT with 16 servers: any, the emptiest, cache-aware, with caches that help each other | 19.65, 5.27, 3.58, 3.07 s | Mooncake, figure 5 |
#
# SGLang's tree finds prefixes token by token, block names find them block by block; the rules for what goes are the same.
# With several servers, the question becomes *where* the prefix is. The course's router `prefix-aware` weighs it against
# who is busy.
#
# ## Take away
#
# 1. **What begins alike is computed once.** TTFT then depends on what is new in a prompt. TPOT gains, because fewer
#    prompts stand in the way.
# 2. **A block's name covers all that is before it.** Only full blocks have one, and a hash that was evicted is
#    forgotten. Never the last token: somebody must ask.
# 3. **Ends before beginnings, the longest unused first.** How much is found depends on how much is shared, how soon it is
#    asked for again, and whose turn it is.

# %%
scorecard("prefix_cache")
