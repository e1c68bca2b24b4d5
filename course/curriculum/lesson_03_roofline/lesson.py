# ruff: noqa: D100, D103, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - count the arithmetic and the bytes of a prefill and of a decode step, for any model;
# - say which of the two limits each part of it, on any machine;
# - predict TTFT and TPOT at best, and find the prompt and the batch that keep a GPU busy;
# - measure the two rates of your own machine, and hold the prediction beside its clock.
#
# You need lessons 01 and 02: heads, keys and values, prefill and decode. There are five exercises of one to seven
# lines. If you leave one open, the lesson goes on with the reference.

# %%
import math
from dataclasses import replace

import torch

from course.curriculum.lesson_03_roofline import explorer
from course.curriculum.lesson_03_roofline.models import model_of, roof_of, shape_of_step
from course.engine.profiling import StepTimer, peak_rates, product_s
from course.exercises import exercise, scorecard, start
from course.figures import Dot, Roof, roofline
from course.model.loading import load_model
from course.simulator.capacity import kv_capacity
from course.simulator.hardware import load_hardware
from course.simulator.operators import step_operators
from course.simulator.parallel import Split
from course.simulator.shapes import load_shape

torch.set_num_threads(1)
start("roofline")

# %% [markdown]
# ## A number that hurts
#
# Most of a model is matrices, and each token goes through them. Here is one: 4,096 by 4,096 weights, 64 MiB. We put
# tokens through it, 1 at a time or more at once.
#
# **Predict:** 256 tokens at once are 256 times the arithmetic of one. How many times as long do they take, on this
# machine?

# %%
my_guess = 256

# %% tags=["nbval-ignore-output"]
measured_s = product_s((1, 4, 16, 64, 256), 4096, 4096)
for n, seconds in measured_s.items():
    ms, gflops = 1e3 * seconds, 2 * n * 4096**2 / seconds / 1e9
    print(f"{n:>3} tokens: {ms:6.1f} ms, {ms / n:5.2f} ms each, {gflops:5.1f} GFLOP/s")
times = measured_s[256] / measured_s[1]
print(f"256 take {times:.0f} times as long as 1; your guess: {my_guess}")
assert measured_s[256] < 200 * measured_s[1]

# %% [markdown]
# Nowhere near 256. Alone, a token gets a small part of the arithmetic that this machine can do. It is no different on
# a GPU. These are OPT-13B's times on one A100, as the authors of DistServe fitted them to their measurements
# ([`profiler-a100-80g.distserve.json`](https://github.com/LLMServe/DistServe/tree/main/simdistserve/estimators/profile_data)):

# %%
prefill_s = explorer.OPT_13B_PREFILL.ttft_s(512)
decode_s = explorer.opt_13b_decode_s(batch=1, context=513)
peak = 312e12  # FLOPs per second that the A100's datasheet promises
for what, num_tokens, seconds in (("prefill", 512, prefill_s), ("decode", 1, decode_s)):
    used = 2 * 13e9 * num_tokens / seconds / peak  # two FLOPs for each parameter and token
    print(f"{what}: {num_tokens:>3} tokens in {1e3 * seconds:.0f} ms: {used:.1%} of the peak")

# %% [markdown]
# Whoever rents that GPU for one reader pays for more than 200 times the arithmetic that is used. Where does the time
# go?
#
# ## The idea: two limits
#
# A machine does two things: it **computes**, and it **moves bytes** between memory and the place where it computes.
# Both go on at the same time. Whatever takes longer decides. So two rates describe it. Here are those of this machine,
# one thread of it:

# %% tags=["nbval-ignore-output"]
flops_s, bytes_s = peak_rates(seconds=3)  # the best of many tries
here = Roof("this machine", flops_s, bytes_s)
print(f"computes {flops_s / 1e9:.0f} billion FLOPs in a second: a product of two large matrices")
print(f"moves    {bytes_s / 1e9:.0f} billion bytes in a second: the sum of a large array")
assert min(flops_s, bytes_s) > 0

# %% [markdown]
# A **FLOP** is one multiplication or addition of numbers with a decimal point. The words that go with it:
#
# - **arithmetic intensity**: FLOPs done for each byte moved. It belongs to the program;
# - **ridge**: FLOPs/s divided by bytes/s. It belongs to the machine. There, computing and moving take equally long.
#
# Below the ridge memory is the limit, above it arithmetic is. That is all there is to the **roofline**
# ([Williams et al., 2009](https://doi.org/10.1145/1498765.1498785)). Now we have to count.
#
# ## Build it 1: a matrix of weights
#
#     tokens [n, inputs]  ×  weights [inputs, outputs]  =  result [n, outputs]
#        read                   read, once                  written

# %% exercise="roofline.matrix_product"

# %% [markdown]
# **Predict:** a matrix of 5,120 by 5,120 weights of 2 bytes. What is the intensity for one token, and for ten?

# %%
for n in (1, 10, 100, 1000):
    flops, moved = matrix_product(n, 5120, 5120)
    print(f"{n:>5} tokens: {flops / 1e6:>8,.0f} MFLOPs, {moved / 1e6:>5,.0f} MB,", end=" ")
    print(f"{flops / moved:>5.0f} FLOPs per byte")

# %% [markdown]
# Ten times the tokens, ten times the intensity: nearly all bytes are weights, and they are read once for everybody.
# Now the picture: the roof of this machine, and what we measured at the beginning.

# %% tags=["nbval-ignore-output"]
dots = []
for n, seconds in measured_s.items():
    dots.append(Dot(str(n), "numbers of tokens", *matrix_product(n, 4096, 4096, 4), seconds))
one, most = dots[0], dots[-1]
assert most.flops / most.seconds > one.flops / one.seconds
roofline(here, dots, "One matrix on this machine")

# %% [markdown]
# By the roof, tokens left of the ridge are free: twice as many climb twice as high, in the same time. Right of it the
# roof is flat, and each one costs.
#
# The dots hang below, near the ridge most of all. A roof is a bound, drawn with the best rates that we could get. Where
# both are needed at once, a program must read and compute at full speed at the same time, and torch's product of a few
# rows does not. At both ends it comes close.
#
# ## Build it 2: how many tokens keep a machine busy?

# %% exercise="roofline.tokens_to_saturate"

# %%
for name in ("a100-80gb", "h100", "h200", "l4"):
    roof = roof_of(name)
    tokens = tokens_to_saturate(roof.flops_s, roof.bytes_s)
    print(f"{roof.name:<5} {roof.flops_s / 1e12:>4.0f} TFLOP/s,", end="")
    print(f" {roof.bytes_s / 1e9:>5,.0f} GB/s:", end="")
    print(f" ridge at {roof.ridge:.0f} FLOPs per byte, {tokens} tokens")

# %% tags=["nbval-ignore-output"]
tokens = tokens_to_saturate(flops_s, bytes_s, element_bytes=4)
print(f"here: ridge at {here.ridge:.1f} FLOPs per byte, {tokens} tokens with numbers of 4 bytes")
assert tokens >= 1

# %% [markdown]
# The peaks are the makers', for dense arithmetic in 16 bits. DistServe rounds the A100's bandwidth to 2 TB/s and gets
# 156.
#
# A prompt of 154 tokens is a paragraph. So a **prefill** soon has enough tokens, from a single user. A **decode** step
# has one token for each user. It would need 154 users: weights cannot tell whose tokens go through them. If weights
# were all, we would be done.
#
# ## Build it 3: attention
#
# But each sequence has a cache of its own, and nobody else's tokens look at it.

# %% exercise="roofline.attention"

# %% [markdown]
# **Predict:** one token decodes behind 1,000 others. What is the intensity of its attention? And behind 4,000?

# %%
for name, num_heads, num_kv_heads in (("OPT-13B, MHA", 40, 40), ("Llama-3.1-8B, GQA", 32, 8)):
    for num_new, num_cached in ((1, 1000), (1, 4000), (1000, 0)):
        flops, num_bytes = attention(num_new, num_cached, num_heads, num_kv_heads, 128)
        intensity = flops / num_bytes
        print(f"{name}: {num_new:>4} new behind {num_cached:>4}: {intensity:6.1f} FLOPs per byte")

# %% [markdown]
# In a decode step, every key that is read meets one query: one FLOP for each byte, at any length. With GQA, four
# queries share a key: four. More users do not help, for they bring caches along. In a prefill, a key meets the queries
# of all tokens behind it.
#
# ## Build it 4: a whole step
#
# A layer of OPT-13B has four matrices. (Queries, keys and values come out of one.)

# %%
opt = model_of("opt-13b")
for name, (inputs, outputs) in opt.matrices.items():
    print(f"{name:<22} {inputs:>6} × {outputs}")
print(f"{opt.num_layers} layers; {opt.num_heads} heads of {opt.head_dim};", end=" ")
print(f"{opt.num_kv_heads} KV heads")

# %% exercise="roofline.step"

# %%
steps = {
    "a prompt of 512": [(512, 0)],
    "one decode behind 512": [(1, 512)],
    "64 decodes behind 512": [(1, 512)] * 64,
}
for what, sequences in steps.items():
    print(what)
    for name, (flops, moved) in step(opt, sequences).items():
        print(f"    {name:<22} {flops / 1e9:>7,.0f} GFLOPs {moved / 1e9:>6.1f} GB", end="")
        print(f" {flops / moved:>6.0f} FLOPs per byte")

# %% [markdown]
# Look at the last column. With 64 decodes the matrices come to 60 FLOPs per byte or so. Attention stays at 1, and now
# reads more than all the matrices together.
#
# The simulator of this course counts the same way. It has to come to the same numbers:

# %%
split = Split(load_shape("opt-13b"))
prompt, decodes = step_operators(split, [(0, 512)], []), step_operators(split, [], [512] * 64)
for mine, theirs in ((step(opt, [(512, 0)]), prompt), (step(opt, [(1, 512)] * 64), decodes)):
    for operator in theirs:
        name = operator.name.split(" of ")[0]  # "attention of prompts", "attention of decodes"
        if name in mine:
            assert mine[name] == (operator.flops, operator.bytes)
print("the same, for every operator")

# %% [markdown]
# ## Build it 5: how long it takes

# %% exercise="roofline.step_time"

# %%
a100 = roof_of("a100-80gb")


def at_best_ms(sequences) -> float:
    return 1e3 * step_time(step(opt, sequences), a100.flops_s, a100.bytes_s)


measured_ms = (1e3 * prefill_s, 1e3 * decode_s, 1e3 * explorer.opt_13b_decode_s(64, 513))
for (what, sequences), took_ms in zip(steps.items(), measured_ms, strict=True):
    best_ms = at_best_ms(sequences)
    print(f"{what:<22} {best_ms:5.1f} ms at best, {took_ms:5.1f} ms measured")
    assert best_ms < took_ms < 2 * best_ms

# %% [markdown]
# No measurement is below the bound, and all are within a factor of two. We have used no measurement, only the shape of
# the model and two figures of a datasheet.
#
# ## Explore
#
# Every dot is an operator of your `step`; larger ones take more of its time. Hatched time waits for memory.

# %% id="explore"
explorer.explorer(step, machine=here)

# %% [markdown]
# Four things to try:
#
# 1. Make the prompt shorter, from 512 down to 16. When does TTFT stop falling?
# 2. Batch from 1 to 64. Which dots move, which one does not? What does TPOT pay for 64 times the tokens?
# 3. *Llama-3.1-8B* instead of *OPT-13B*, with batch 64 and 2,048 tokens. Where is attention now?
# 4. *this machine* instead of the A100. What would it be like to be served from here?
#
# <details><summary>What you should have seen</summary>
#
# 1. At 128. Below the ridge, a prompt waits for the weights, however short it is.
# 2. The matrices climb the slope. Attention stays where it is. TPOT doubles, from 13 to 26 ms: a good bargain.
# 3. At 4 FLOPs per byte instead of 1: four query heads share what is read.
# 4. A minute or more for the first token, about a second for each later one. And the ridge is so low that with a
#    handful of users arithmetic limits all but attention.
# </details>
#
# ## The same on the real model
#
# The tiny model on this machine, in the course's engine: steps of any shape, with the clock beside. First what we
# predict, then what the matrices of its layers take when they run alone, then the whole step.

# %% tags=["nbval-ignore-output"]
timer = StepTimer(load_model("tiny"))
tiny = replace(model_of("tiny"), element_bytes=4)  # computed in 32 bits here
sizes = {
    "prompt of 16": [(16, 0)],
    "prompt of 256": [(256, 0)],
    "1 decode": [(1, 256)],
    "16 decodes": [(1, 256)] * 16,
}
shapes = {what: shape_of_step(sequences) for what, sequences in sizes.items()}
rounds = [{what: timer.time_s(shape) for what, shape in shapes.items()} for _ in range(6)]
whole_s = {what: min(round_s[what] for round_s in rounds) for what in shapes}
assert whole_s["1 decode"] < whole_s["16 decodes"] < 16 * whole_s["1 decode"]

# %% tags=["nbval-ignore-output"]
print(f"{'':<14}{'at best':>9}{'matrices':>10}{'engine':>10}")
for what, sequences in sizes.items():
    n = sum(new for new, _ in sequences)
    best_ms = 1e3 * step_time(step(tiny, sequences), flops_s, bytes_s)
    layer_s = sum(product_s([n], *matrix)[n] for matrix in tiny.matrices.values())
    alone_ms, whole_ms = 1e3 * tiny.num_layers * layer_s, 1e3 * whole_s[what]
    print(f"{what:<14}{best_ms:>6.1f} ms{alone_ms:>7.1f} ms{whole_ms:>7.1f} ms")
    assert whole_ms > alone_ms / 4

# %% [markdown]
# The matrices alone come close to the bound. (One token may even beat it. These matrices are so small that they stay in
# the processor's own memory, which is faster than the large memory whose rate we measured.) The whole step does not: a
# long prompt is not far away if the machine is quiet, one decode is several times away. What else does its step do?

# %% tags=["nbval-ignore-output"]
num_calls, took_ms = timer.num_calls(shapes["1 decode"]), 1e3 * whole_s["1 decode"]
print(f"{num_calls} calls of torch in {took_ms:.1f} ms, {1e3 * took_ms / num_calls:.0f} µs each")
assert num_calls > 7 * tiny.num_layers  # not only matrices

# %% [markdown]
# A call takes some microseconds, however little it computes. A large model on a GPU spends its time in matrices and
# caches. A tiny one on a processor spends it on the way to them, and the roofline knows nothing of that.
#
# What it says about sharing holds all the same: 16 decodes take much less than 16 times as long as one.
#
# ## What got worse
#
# Batching decodes makes a GPU worth its money. What does it cost? Here with caches of 300 and of 2,048 tokens:

# %%
room = kv_capacity(load_shape("opt-13b"), load_hardware("a100-80gb"))
print(f"OPT-13B on one A100: beside the weights there is room for {room:,} tokens")
for context in (300, 2048):
    for batch in (1, 16, 64, 154, 256):
        tpot_ms = at_best_ms([(1, context)] * batch)
        rate, fits = 1e3 * batch / tpot_ms, "" if batch * context <= room else "does not fit"
        print(f"{batch:>3} × {context:>4} tokens: TPOT {tpot_ms:3.0f} ms,", end="")
        print(f" {rate:5,.0f} tokens/s  {fits}")

# %% [markdown]
# - **Everybody's TPOT grows** with the batch, for all caches are read in every step.
# - **The rate stops growing.** With long caches, attention is nearly all there is, and its intensity is 1. The prefill
#   of 512 tokens runs at 12,000 tokens per second; no batch of decodes comes near.
# - **Soon it does not fit.** 154 users with 300 tokens each do; with 2,048 tokens each, memory holds 30 of them.
#
# So decode is limited by memory twice: by how fast it is read, and by how much there is. Lesson 05 is about the second.
#
# ## Why 512 and not 154?
#
# DistServe's authors measured how long a prompt must be to saturate an A100 with a 13B model, and call it L_m. They
# say about 512 tokens ([section 3.1](https://arxiv.org/abs/2401.09670)). Our knee is at 154. How much of its best rate
# does a prompt reach, at best and measured?

# %%
lengths = [16, 64, 154, 256, 512, 1024, 2048]
at_best = [n / at_best_ms([(n, 0)]) for n in lengths]  # tokens per millisecond
fitted = [n / (1e3 * explorer.OPT_13B_PREFILL.ttft_s(n)) for n in lengths]
for n, bound, rate in zip(lengths, at_best, fitted, strict=True):
    print(f"{n:>5} tokens: at best {bound / max(at_best):4.0%},", end="")
    print(f" measured {rate / max(fitted):4.0%}")

# %% [markdown]
# Their measurements follow the formula `a + b·n + c·n²`. Look at `a` and `b`.

# %%
shape, fit = load_shape("opt-13b"), explorer.OPT_13B_PREFILL
reading_s = shape.weight_bytes / a100.bytes_s
token_s = 2 * shape.num_parameters / a100.flops_s
print(f"a, always:    {1e3 * fit.constant_s:6.3f} ms", end="")
print(f"    reading all weights at best {1e3 * reading_s:6.3f} ms")
print(f"b, per token: {1e3 * fit.linear_s:6.3f} ms", end="")
print(f"    its arithmetic at best      {1e3 * token_s:6.3f} ms")
print(f"a = b·n at n = {fit.constant_s / fit.linear_s:.0f} tokens")

# %% [markdown]
# The two parts are those that we have counted, each somewhat above its bound, and they are equal at 178 tokens: nearly
# our knee. But the formula **adds** where we take the larger, as if no reading were hidden behind arithmetic. Where both
# parts are equal, a sum is twice the larger: half of the rate. Only when the prompt is several times as long does the
# constant become small beside the rest. So 154 and 512 are answers to two questions: from where on can arithmetic be
# the limit, and from where on is this engine nearly as fast as it gets.
#
# ## Where published systems stand
#
# | what | number | source |
# |:--|:--|:--|
# | shortest prompt that saturates an A100, 13B model | about 512 tokens | [DistServe](https://arxiv.org/abs/2401.09670), section 3.1 |
# | prefill of one request saturates | at about 512 tokens | [Sarathi-Serve](https://arxiv.org/abs/2403.02310), section 3.1 |
# | one decode token costs in the matrices as much as | about 128 prefill tokens (Mistral-7B, A100) | [Sarathi-Serve](https://arxiv.org/abs/2403.02310), section 3.1 |
# | Llama-2-70B, 8 GPUs: a token alone, A100 / H100 | 45.0 / 30.6 ms | [Splitwise](https://arxiv.org/abs/2311.18677), released timings |
# | the same, a prompt of 1,024 | 154.5 / 77.9 ms | [Splitwise](https://arxiv.org/abs/2311.18677), released timings |
#
# The third row is our knee again, in a measurement of matrices alone. Now the last two rows. From A100 to H100,
# **predict**: by what factor should each become faster?

# %%
h100 = roof_of("h100")
print(f"arithmetic: {h100.flops_s / a100.flops_s:.1f} times    prompt: {154.5 / 77.9:.1f} times")
print(f"bandwidth:  {h100.bytes_s / a100.bytes_s:.1f} times    token:  {45.0 / 30.6:.1f} times")

# %% [markdown]
# Each phase follows its own limit, from below. Splitwise makes a system of it: prompts on the GPU with more
# arithmetic, tokens on the cheaper one. That is lesson 11.
#
# ## Take away
#
# 1. **Two rates decide.** An operator takes as long as its arithmetic or its bytes, whichever is longer. The ridge of
#    the machine says which: 153 FLOPs per byte on an A100.
# 2. **Weights are shared, caches are not.** Tokens of one prompt, or of many users, share a read of the weights.
#    Attention in decode stays at 1 FLOP per byte, or a few with GQA, whatever the batch.
# 3. **So prefill is limited by arithmetic and decode by memory.** TTFT falls with FLOPs per second, TPOT with bytes per
#    second. And the roofline is a bound: it takes several times the tokens of the knee to come near it.

# %%
scorecard("roofline")
