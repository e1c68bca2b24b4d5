# ruff: noqa: B018, D100, D103, E402, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - say what queries, keys and values are, and write attention in five lines of torch;
# - put your lines into a real Llama block and get the same numbers as `transformers`;
# - let the model write, one token at a time;
# - say which part of TTFT grows with the length of a prompt, and which with its square.
#
# You need a little torch: matrix products, shapes, `softmax`. There are five exercises of one to five lines. Run the
# cells from top to bottom. If you leave an exercise open, the lesson goes on with the reference.

# %%
import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from course.curriculum.lesson_01_attention import explorer
from course.exercises import exercise, scorecard, start

torch.set_grad_enabled(False)  # we serve, we do not train
torch.set_num_threads(1)  # a model this small gains nothing from more
start("attention")

# %% [markdown]
# ## A number that hurts
#
# Somebody sends a prompt of 4,096 tokens, a longish article, to a model on an otherwise idle GPU. Somebody else sends
# a whole book of 65,536 tokens. That is 16 times as much to read.
#
# **Predict:** how many times as long does the second one wait for the first token?

# %%
cost = explorer.COSTS["OPT-13B on one A100"]
article, book = cost.ttft_s(4_096), cost.ttft_s(65_536)
print(f"article: {article:.1f} s    book: {book:.1f} s    {book / article:.0f} times as long")

# %% [markdown]
# More than half a minute of silence, and nobody else was even there. The formula is a published fit to
# measurements: `a + b·n + c·n²` seconds for a prompt of n tokens
# ([DistServe](https://github.com/LLMServe/DistServe), file
# `profiler-a100-80g.distserve.json`). OPT itself stops at 2,048 tokens, so for both of these we extend its curve.
#
# Where does the `n²` come from? To see that, we build what a transformer computes.

# %% [markdown]
# ## What goes in, what comes out
#
# The course brings a small Llama-style model along. Here `transformers` loads it.

# %%
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from course.model.weights import checkpoint_folder

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
folder = checkpoint_folder("tiny")
tokenizer = AutoTokenizer.from_pretrained(folder)
llama = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

# %%
config = llama.config
num_heads, num_kv_heads, head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
print(f"{config.num_hidden_layers} layers, rows of {config.hidden_size} numbers, {config.vocab_size} tokens known")
print(f"{num_heads} query heads, {num_kv_heads} KV heads, {head_dim} numbers a head")

# %% [markdown]
# A text becomes **tokens**, pieces of words with a number each. The first token only marks the beginning.

# %% tags=["nbval-ignore-output"]
text = "The first list contains the names. The second list contains"
tokens = tokenizer(text, return_tensors="pt").input_ids[0]
words = [tokenizer.decode([token]) for token in tokens]
assert tokens.ndim == 1
print(words)

# %% [markdown]
# In go n tokens. Out come n rows of **logits**: row i rates every token of the vocabulary as the one that follows
# token i.

# %%
logits = llama(tokens[None]).logits[0]  # [None] makes it a batch of one text
assert logits.shape == (len(tokens), config.vocab_size)

# %% [markdown]
# **Predict:** we exchange the last token. Which rows of the logits change: all of them, half of them, one?

# %% tags=["nbval-ignore-output"]
other = tokens.clone()
other[-1] = tokens[1]
change = (llama(other[None]).logits[0] - logits).abs().amax(dim=1)
print([round(c, 3) for c in change.tolist()])
assert change[:-1].max() < 1e-3 < change[-1]

# %% [markdown]
# One. Information flows forward only: a token knows those before it, never those after it. A model with this property
# is called **causal**. All of serving builds on it: what has been computed for a token stays right, whatever is
# written later.

# %% [markdown]
# ## The idea: a soft look-up
#
# How does a token learn what stood before it? Every token makes three vectors out of its own row:
#
# - a **query** q: what am I looking for?
# - a **key** k: what can I be found by?
# - a **value** v: what do I hand over when found?
#
# In a dictionary, a query matches one key or none. Here it matches every key more or less, and takes a weighted mean
# of the values. Three keys and three values of one number each:

# %%
keys = torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]])
values = torch.tensor([[10.0], [20.0], [30.0]])


def look_up(query: Tensor) -> tuple[Tensor, Tensor]:
    scores = keys @ query / math.sqrt(3)
    weights = torch.softmax(scores, dim=0)  # positive, and their sum is 1
    return weights, weights @ values


# %%
for query in ([0.0, 4.0, 0.0], [0.0, 4.0, 4.0], [0.0, 0.0, 0.0]):
    weights, found = look_up(torch.tensor(query))
    print(query, "→ weights", [round(w, 2) for w in weights.tolist()], "→ value", round(found.item(), 1))

# %% [markdown]
# The first query finds the second key. The next one fits two keys and gets the mean of their values. The last one fits
# nothing, and still its weights sum to 1: it gets a bit of everything.
#
# **Why the square root?** A score is a sum of d products, so it grows with d, although the vectors look the same.

# %%
torch.manual_seed(0)
for d in (16, 64, 256):
    scores = (torch.randn(20_000, d) * torch.randn(20_000, d)).sum(dim=1)
    print(f"d = {d:3}: scores of size {scores.std():4.1f}, divided by the root of d: {scores.std() / d**0.5:.1f}")

# %% [markdown]
# They grow like the square root of d: four times the d, twice the scores. Large scores make softmax pick one token and
# ignore all others. Divided by the root, they stay of size 1 at any d.
#
# **All tokens at once.** n queries, n keys and n values are three matrices. Several **heads** do this side by side,
# each with its own vectors.
#
# | | shape |
# |:--|:--|
# | queries, keys, values | [heads, tokens, head_dim] |
# | scores = queries · keysᵀ / √head_dim | [heads, tokens, tokens] |
# | weights = softmax of each row, future hidden | [heads, tokens, tokens] |
# | answer = weights · values | [heads, tokens, head_dim] |
#
# The scores are a square, tokens by tokens. There is the `n²`. Row i belongs to the query of token i, column j to the
# key of token j. Hidden is what lies above the diagonal (marked ×):
#
#     i \ j   0  1  2  3
#       0     ·  ×  ×  ×
#       1     ·  ·  ×  ×
#       2     ·  ·  ·  ×
#       3     ·  ·  ·  ·

# %% [markdown]
# ## Build it 1: attention
#
# Useful: `keys.transpose(-1, -2)` swaps the last two axes. `torch.ones(n, n).triu(1).bool()` is true above the
# diagonal. `scores.masked_fill(mask, number)` gives the scores with that number wherever the mask is true. And
# exp(-inf) is 0.

# %% exercise="attention.causal_attention"

# %% [markdown]
# ## Build it 2 and 3: heads
#
# The queries of all heads come out of one matrix product, as one long row per token: [tokens, heads · head_dim].
# Attention wants them apart. Afterwards the heads' answers become one row per token again.
#
# Two tokens, two heads of two numbers. Head 0 is the left half of each row:
#
#     [[ 0,  1,  2,  3],        head 0: [[ 0,  1], [10, 11]]
#      [10, 11, 12, 13]]   →    head 1: [[ 2,  3], [12, 13]]

# %% exercise="attention.split_heads"

# %% exercise="attention.merge_heads"

# %% [markdown]
# What is split and merged must be what it was. That alone proves little: two mistakes can undo each other. So we look
# at head 1 as well.

# %%
x = torch.tensor([[0, 1, 2, 3], [10, 11, 12, 13]])
assert merge_heads(split_heads(x, num_heads=2)).equal(x)
split_heads(x, num_heads=2)[1]

# %% [markdown]
# ## Build it 4: heads that share
#
# Keys and values of earlier tokens are needed again for every new token. Lesson 02 keeps them in memory and counts
# what that costs. It pays to have fewer of them. Our model has 8 query heads but only 4 heads of keys and values: two
# query heads share one KV head. This is **grouped-query attention** (GQA). With a single KV head for all it is called
# multi-query (MQA); with as many KV heads as query heads, multi-head (MHA).

# %% exercise="attention.share_heads"

# %%
for kv_heads in (8, 4, 1):
    kv = torch.arange(kv_heads).view(kv_heads, 1, 1)  # one token, one number: the head's own number
    print(f"KV heads: {kv_heads}. Query heads 0 to 7 use", share_heads(kv, 8).flatten().tolist())

# %% [markdown]
# ## The same in a real Llama
#
# A layer of a Llama consists of two parts. Each reads the row x of every token and **adds** something to it:
#
#     x ──┬── norm ── attention ──(+)──┬── norm ── MLP ──(+)── x of the next layer
#         └────────────────────────┘   └───────────────┘
#
# - Attention is the only place where tokens meet. Its four functions are the ones that you have just written.
# - The MLP transforms each token's row on its own.
#
# One thing is missing: order. Nothing in a score says how far apart two tokens stand. Llama therefore turns queries
# and keys by an angle that grows with the position ([RoPE](https://arxiv.org/abs/2104.09864)). The model brings its
# angles along; we only apply them.


# %%
def rotate(heads: Tensor) -> Tensor:
    positions = torch.arange(heads.shape[1])
    cos, sin = llama.model.rotary_emb(heads, positions[None])
    left, right = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-right, left], dim=-1) * sin


# %%
def queries_keys_values(layer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    part, h = layer.self_attn, layer.input_layernorm(x)
    queries = split_heads(part.q_proj(h), num_heads)
    keys = split_heads(part.k_proj(h), num_kv_heads)
    values = split_heads(part.v_proj(h), num_kv_heads)
    return rotate(queries), share_heads(rotate(keys), num_heads), share_heads(values, num_heads)


# %%
def block(layer, x: Tensor) -> Tensor:
    answer = causal_attention(*queries_keys_values(layer, x))
    x = x + layer.self_attn.o_proj(merge_heads(answer))
    return x + layer.mlp(layer.post_attention_layernorm(x))


# %% [markdown]
# The MLP indeed does not care who stands beside: one row alone comes out as it does among others.

# %%
x, mlp = torch.randn(5, config.hidden_size), llama.model.layers[0].mlp
assert torch.allclose(mlp(x)[3], mlp(x[3:4])[0], atol=1e-3)

# %% [markdown]
# Is our block what `transformers` computes? First one layer, with the same rows going in:

# %%
states = llama(tokens[None], output_hidden_states=True).hidden_states  # x before each layer
mine, theirs = block(llama.model.layers[0], states[0][0]), states[1][0]


def error(mine: Tensor, theirs: Tensor) -> float:
    return ((mine - theirs).abs().max() / theirs.abs().max()).item()


assert error(mine, theirs) < 1e-5
print("Layer 0 agrees to 1e-5.")

# %% [markdown]
# Then the whole model: look up each token's row, go through all layers, rate the vocabulary.


# %%
def my_llama(tokens: Tensor) -> Tensor:
    x = llama.model.embed_tokens(tokens)
    for layer in llama.model.layers:
        x = block(layer, x)
    return llama.lm_head(llama.model.norm(x))


assert error(my_llama(tokens), logits) < 1e-5
print("So do the logits, after all layers.")

# %% [markdown]
# **What are Q, K and V, then?** Three views of the same row, by three learned matrices. Nothing else tells them apart.

# %%
part = llama.model.layers[0].self_attn
for name in ("q_proj", "k_proj", "v_proj"):
    matrix = getattr(part, name).weight
    print(f"{name}: {matrix.shape[1]} numbers in, {matrix.shape[0]} out")

# %% [markdown]
# Queries are wider than keys and values: that is the sharing of exercise 4.
#
# ## See it
#
# With the identity matrix as values, the answer of your `causal_attention` is its weights. So your own function shows
# where each head of the real model looks.


# %%
@lru_cache(maxsize=4)  # heads are changed more often than texts
def look(text: str) -> explorer.Pattern:
    tokens = tokenizer(text, return_tensors="pt").input_ids[0]
    x, weights = llama.model.embed_tokens(tokens), []
    for layer in llama.model.layers:
        queries, keys, _ = queries_keys_values(layer, x)
        identity = torch.eye(len(tokens)).repeat(num_heads, 1, 1)
        weights.append(causal_attention(queries, keys, identity).tolist())
        x = block(layer, x)
    return explorer.Pattern([tokenizer.decode([token]) for token in tokens], weights)


# %% [markdown]
# Type a text of your own. Then go through layers and heads. Try to find
#
# - a head that looks at the token before;
# - a head that finds an earlier place with the same word;
# - a head that mostly looks at the first token. Perhaps it finds nothing, and its weights must go somewhere.

# %% tags=["nbval-ignore-output"]
explorer.pattern_explorer(look, text, config.num_hidden_layers, num_heads)

# %% [markdown]
# The same in numbers: for each layer, the head that looks most at the token before, and the head that looks most at
# the first.

# %% tags=["nbval-ignore-output"]
weights = torch.tensor(look(text).weights)  # [layers, heads, tokens, tokens]
before = weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=-1)
first = weights[:, :, 1:, 0].mean(dim=-1)
for i in range(len(weights)):
    near, far = before[i].argmax(), first[i].argmax()
    print(f"layer {i}: head {near} looks one back ({before[i, near]:.0%}),", end=" ")
    print(f"head {far} at the first ({first[i, far]:.0%})")
assert torch.allclose(weights.sum(dim=-1), torch.ones(()), atol=1e-4)

# %% [markdown]
# ## Build it 5: one step
#
# The model rates. Writing is a loop around it: run the model over all tokens, append the best, begin again. Here is
# one turn of that loop.

# %% exercise="attention.step"

# %% tags=["nbval-ignore-output"]
written = tokens
for _ in range(12):
    written = step(my_llama, written)
print(tokenizer.decode(written, skip_special_tokens=True))

theirs = llama.generate(tokens[None], max_new_tokens=12, do_sample=False)[0]  # stops early if the model says so
assert written[: len(theirs)].equal(theirs)

# %% [markdown]
# Token by token the same as `transformers` writes. The model is tiny, and so is its wisdom; a model a thousand times
# its size is called in exactly this way.
#
# This is **autoregression**: each answer becomes part of the next question. It is why TTFT and TPOT are two numbers.
# The first step reads the whole prompt; every later step adds one token.

# %% [markdown]
# ## The residual stream
#
# Look at `block` again: it never replaces x, it adds to x. So each token has one row that runs through the whole
# model, the **residual stream**, and all parts read from it and write to it.
#
# It has the same form at every depth. So we can ask early: what would the model say if it ended here? We take the best
# token of every row after every layer, and count how many of these drafts are already the final answer.

# %% tags=["nbval-ignore-output"]
x, final = llama.model.embed_tokens(tokens), logits.argmax(dim=-1)
for i, layer in enumerate(llama.model.layers):
    x = block(layer, x)
    drafts = llama.lm_head(llama.model.norm(x)).argmax(dim=-1)
    right, size = (drafts == final).sum(), x.norm(dim=-1).mean()
    print(f"after layer {i}: rows of length {size:3.0f}, {right:2} of {len(tokens)} drafts are final")
assert drafts.equal(final)

# %% [markdown]
# A row is a draft that every layer adds to. That changes its length, too: compare the first and the last layer.

# %% [markdown]
# ## Three norms
#
# So that no part has to care about that, each first brings its input back to a standard size. Three ways of doing it,
# on a batch of rows [requests, numbers]:


# %%
def batch_norm(x):  # each column: statistics over the batch
    return (x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + 1e-5).sqrt()


def layer_norm(x):  # each row: its mean becomes 0, its size 1
    return (x - x.mean(dim=1, keepdim=True)) / (x.var(dim=1, correction=0, keepdim=True) + 1e-5).sqrt()


def rms_norm(x):  # each row: its size becomes 1, its mean is left alone
    return x / ((x**2).mean(dim=1, keepdim=True) + 1e-5).sqrt()


# %% [markdown]
# **Predict:** your request is the first row. It is served alone, then with two strangers, then with two others. For
# which norms does your row come out differently?

# %%
torch.manual_seed(1)
me = torch.randn(1, 6)
company = {"alone": torch.empty(0, 6), "two strangers": torch.randn(2, 6), "two others": torch.randn(2, 6)}
for norm in (batch_norm, layer_norm, rms_norm):
    for name, rows in company.items():
        mine = norm(torch.cat([me, rows]))[0].tolist()
        print(f"{norm.__name__:10}  {name:13}", "".join(f"{number:7.2f}" for number in mine))

# %% [markdown]
# With [batch norm](https://arxiv.org/abs/1502.03167), your row depends on who else is in the batch. Alone, it is all
# zeros. A server changes the batch at every step, as people come and go, so that would be unbearable. (At inference,
# batch norm can use averages stored in training instead. Then company no longer matters, but what is served is no
# longer what was trained.)
#
# [Layer norm](https://arxiv.org/abs/1607.06450) and [RMSNorm](https://arxiv.org/abs/1910.07467) look at one row only.
# RMSNorm does not even need the mean. Llama uses it, with a learned factor for each column:

# %%
norm = llama.model.norm
x = 3 * torch.randn(5, config.hidden_size)
assert torch.allclose(rms_norm(x) * norm.weight, norm(x), atol=1e-3)
type(norm).__name__

# %% [markdown]
# ## What a prompt costs
#
# Now the formula of the beginning can be read. For a prompt of n tokens
#
# - every token's row goes through all weights once: n times the same work, the **linear** part;
# - every token looks at itself and all tokens before: this many pairs, the **quadratic** part.

# %%
for n in (4_096, 65_536):
    pairs = n * (n + 1) // 2
    print(f"{n:6,} tokens: {n:6,} rows through the weights, {pairs:13,} pairs in each head")

# %% [markdown]
# 16 times the rows, 256 times the pairs. Which of them you feel depends on the length. Double the prompt again and
# again: where does attention overtake the weights? Then change the model.

# %%
explorer.explorer()

# %% [markdown]
# The same in words, for a usual prompt and for the book:

# %%
for n in (2_048, 65_536):
    print(explorer.summary("OPT-13B on one A100", n).partition(" Both")[0])

# %% [markdown]
# TTFT of a usual prompt is nearly a straight line: weights. At book length, most of it is attention.

# %% [markdown]
# ## What got worse
#
# Your loop is right, and wasteful. To write one more token it runs all tokens through the model again. A prompt of
# 1,000 tokens and an answer of 200:

# %%
prompt, answer = 1_000, 200
computed = sum(prompt + i for i in range(answer))
needed = prompt + answer - 1
print(f"{computed:,} rows computed, {needed:,} different ones: each {computed / needed:.0f} times on average")

first_s, last_s = cost.ttft_s(prompt), cost.ttft_s(needed)
print(f"OPT-13B on one A100: {1000 * first_s:.0f} ms for the first token, {1000 * last_s:.0f} ms for the last")

# %% [markdown]
# Each new token costs as much as the first one: TPOT is as bad as TTFT, and gets worse as the answer grows. But this
# lesson has shown that the rows of earlier tokens never change. Lesson 02 keeps what can be kept.

# %% [markdown]
# ## Where published systems stand
#
# | model | query heads | KV heads | |
# |:--|--:|--:|:--|
# | OPT-13B (2022) | 40 | 40 | MHA |
# | Llama-2-7B (2023) | 32 | 32 | MHA |
# | Llama-3-8B (2024) | 32 | 8 | GQA |
# | Llama-3-70B (2024) | 64 | 8 | GQA |
# | Falcon-7B (2023) | 71 | 1 | MQA |
#
# The numbers stand in the models' published configurations (`config.json`).
#
# - The attention that you built: Vaswani et al., [Attention is all you need](https://arxiv.org/abs/1706.03762), 2017.
#   It scales by the root of d for the reason that you saw.
# - MQA: Shazeer, [Fast transformer decoding](https://arxiv.org/abs/1911.02150), 2019.
# - GQA: Ainslie et al., [GQA](https://arxiv.org/abs/2305.13245), 2023. The abstract reports quality close to
#   multi-head attention at a speed comparable to multi-query attention.
#
# Your five lines write all n × n scores to memory. Lesson 04 gets the same numbers without them.

# %% [markdown]
# ## Three takeaways
#
# 1. **Attention is a soft look-up.** Each token asks with its query, finds by keys, and takes a weighted mean of
#    values, from itself and the tokens before. Everything else in a transformer treats each token on its own.
# 2. **A prompt costs a linear and a quadratic part.** Rows through weights, and pairs of tokens. That is TTFT.
# 3. **What has been computed stays right.** The mask looks back only, and the norm looks at one row only. So neither
#    later tokens nor strangers in the batch change a result. Caches and batching are allowed because of that.

# %%
scorecard()
