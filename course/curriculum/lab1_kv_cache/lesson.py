# ruff: noqa: D100, D102, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# In lessons 01 and 02 the course held the model and you wrote pieces of it. Now you write the decoder: it reads a
# prompt in chunks, keeps keys and values in a cache of fixed size, and writes until it is done. At the end it runs
# the course's tiny model, and has to write what the course's own engine writes, token for token.
#
# There are five functions. Each stands alone: if one is not done, the others can still be.
#
# | | function | points | what it does |
# |:--|:--|:--|:--|
# | 1 | `store` | 2 | writes new keys and values into the cache, in place |
# | 2 | `attend` | 3 | lets new tokens look into the cache |
# | 3 | `layer` | 2 | is one layer of the model, around any attention |
# | 4 | `prefill` | 3 | reads a prompt in chunks, and keeps what is cached already |
# | 5 | `decode` | 2 | writes, and knows when to stop |
#
# **How it works.** Write into the five cells that begin with `@exercise`, and leave that line where it is. Running
# such a cell judges it. The locked cell below is red until it passes. Each cell is judged alone: a helper function or
# an import that it needs must stand in the same cell. [The hand-out](README.md) has the rules.

# %% id="imports" locked=true
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import silu

from course.curriculum.lab1_kv_cache.exercises import rms_norm
from course.curriculum.lab1_kv_cache.tiny import TinyModel
from course.curriculum.lesson_02_kv_cache.exercises import rotate
from course.engine.local import LocalEngine
from course.exercises import check_cell, exercise, ready, scorecard, start

torch.set_grad_enabled(False)
start("lab1")

# %% [markdown]
# ## What you are given
#
# The tiny model, in parts. Query heads share KV heads, two by two.

# %%
tiny = TinyModel()
c = tiny.config
print(f"{c.num_layers} layers, rows of {c.hidden_size} numbers")
print(f"{c.num_heads} query heads, {c.num_kv_heads} KV heads, {c.head_dim} numbers a head")
for name, weight in tiny.layers[0].items():
    print(f"{name:>6}: {list(weight.shape)}")

# %% [markdown]
# And two functions that you know from the lessons: `rotate(heads, positions)` turns queries and keys by their positions,
# `rms_norm(x, gain)` evens out rows. Both return something new.
#
# The cache is made once, with room for `capacity` tokens. Its rows hold anything at first, here NaN ("not a number").
# In lesson 02, `append` copied the whole cache for each new token. Here nothing is copied: a token has its row, and is
# written there.

# %%
cache = tiny.empty_cache(capacity=6)
print(f"{len(cache)} layers, each {list(cache[0].shape)}: keys and values, KV heads, rows, numbers")

# %% [markdown]
# ## 1: store
#
# With three tokens cached and two new ones, in a cache with room for six:
#
#     row     0  1  2  3  4  5
#             ·  ·  ·  n  n  ?       · cached   n new, start = 3   ? not used

# %% exercise="lab1.store"

# %% check="lab1.store"

# %% [markdown]
# ## 2: attend
#
# The new tokens are stored. Now they look back. The last query in the picture sees rows 0 to 4, the one before it rows
# 0 to 3, and nobody sees row 5.
#
# It pays to think about the shapes first. How many rows of the cache matter? Which of them does new token i see?

# %% exercise="lab1.attend"

# %% check="lab1.attend"

# %% [markdown]
# ## 3: layer
#
# One layer, from rows to rows. It does not know that there is a cache: `attention` is handed to it.

# %% exercise="lab1.layer"

# %% check="lab1.layer"

# %% [markdown]
# ## The parts joined
#
# This is all that is left to do. Read it: here your three functions meet. `rewind` is short. Why is that enough?


# %% id="decoder" locked=true
class Decoder:
    """The tiny model with your parts, and a cache for one text."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.cache = tiny.empty_cache(capacity)
        self.tokens: list[int] = []  # what is in the cache

    def step(self, tokens: list[int]) -> Tensor:
        start, x = len(self.tokens), tiny.embed(tokens)
        for weights, cache in zip(tiny.layers, self.cache, strict=True):

            def attention(query: Tensor, key: Tensor, value: Tensor, cache: Tensor = cache) -> Tensor:
                store(cache, start, key, value)
                return attend(query, cache, start)

            x = layer(x, weights, attention, tiny.config.head_dim)
        self.tokens += tokens
        return tiny.logits(x[-1])

    def rewind(self, length: int) -> None:
        del self.tokens[length:]


# %% [markdown]
# <details><summary>Answer</summary>
#
# Nothing has to be erased. Rows behind the text are leftovers that nobody looks at, and the next tokens are written
# over them.
# </details>
#
# ## 4: prefill
#
# A chat sends its whole history with each turn. Most of it is in the cache from the turn before:
#
#     cached    The list is sorted . Then it
#     prompt    The list is sorted . Why ?
#               keep                 compute
#
# And a long prompt need not go through in one step. Behind a chunk, others can have their turn: lesson 08 is about
# that.
#
# `decoder` is a `Decoder` as above. (The judge uses a small one of its own, so this works without 1 to 3.)

# %% exercise="lab1.prefill"

# %% check="lab1.prefill"

# %% [markdown]
# ## 5: decode
#
# The loop of lesson 02, grown up: an answer has a length that nobody knows before, and a cache has an end. There are
# three reasons to stop. And a token that nobody will look back at need not go through the model.

# %% exercise="lab1.decode"

# %% check="lab1.decode"

# %% [markdown]
# ## It writes
#
# From here on there is nothing to hand in. The cells run as soon as all five pass.
#
# The tiny model was trained to copy. Its answer ends with the line.

# %%
if ready("lab1"):
    decoder = Decoder(capacity=100)
    prompt = tiny.encode("Copy: captain Alice pirate Hugo judge Victor\nAgain:")
    logits = prefill(decoder, prompt, chunk_size=8)
    answer = decode(decoder, logits, 30, end_tokens=[tiny.token("\n")])
    print(tiny.decode(answer))

# %% [markdown]
# Now the proof. The course's engine is written quite differently: paged memory, batches, other operators. It gets the
# same prompt.

# %%
if ready("lab1"):
    prompt = tiny.encode("The function returns")
    [theirs] = LocalEngine("tiny").generate(prompt, 60, ignore_end=True)
    for chunk_size in (1, 3, 100):
        decoder = Decoder(capacity=80)
        answer = decode(decoder, prefill(decoder, prompt, chunk_size), 60, end_tokens=[])
        assert answer == theirs.tokens
    print(f"{len(answer)} tokens, all equal: {tiny.decode(answer[:12])} …")

# %% [markdown]
# ## What the kept beginning is worth
#
# Somebody gives the model a list of people, a long text behind it, and then asks three questions. The model has to find
# the names in your cache. **Predict:** how long does the second question wait for its first token, compared with the
# first?

# %%
people = "Meet captain Alice.\nMeet pirate Hugo.\nMeet baker Nina.\nMeet judge Victor.\n"
story = people + "The function returns a list of the names. " * 60 + "\n"

if ready("lab1"):
    decoder = Decoder(capacity=1000)
    for who in ("pirate", "judge", "captain"):
        prompt = tiny.encode(f"{story}Recall {who}")
        began = time.perf_counter()
        logits = prefill(decoder, prompt, chunk_size=128)
        ttft_ms = 1000 * (time.perf_counter() - began)
        answer = decode(decoder, logits, 5, end_tokens=[tiny.token(".")])
        print(f"{who:>8}: {tiny.decode(answer):<8} {len(prompt)} tokens, TTFT {ttft_ms:5.1f} ms")

# %% [markdown]
# All three prompts are of the same length, and the user of the second one waits a small part of the time: TTFT is the
# time of what is *not* cached.
#
# Things to think about, for the lessons to come:
#
# - The cache has room for 1,000 tokens from the beginning, whether they come or not. Lesson 05 does without.
# - Only one text can use it, and the next one has to begin with the same words. Lesson 06 shares beginnings between many.
# - While a prompt goes through, nobody else can write. Lessons 07 and 08 are about that.
#
# ## Before you hand in
#
# 1. *Kernel → Restart Kernel and Run All Cells.* It stops at the first check that does not pass; the cells below it have
#    not run then.
# 2. Save. Then, in a terminal in the course's folder:
#    `python3 -m course check-homework labs/lab1_kv_cache/lab1_kv_cache.ipynb`
# 3. Hand in this file. Its outputs do not count, what stands in the five cells does.

# %%
scorecard("lab1")
