# ruff: noqa: D100, D103, E402, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# At the end you can
#
# - turn the times of a request into TTFT, ITL, TPOT and E2E, and say whether it was good enough;
# - say why one user's long prompt stops another user's answer;
# - name a cure, and what it costs.
#
# To run a cell, click into it and press **Shift + Enter**. Begin with this one.

# %%
import math
from itertools import pairwise

import numpy as np

from course.curriculum.lesson_00_start_here import burst, explorer
from course.exercises import exercise, scorecard, start
from course.figures import token_gaps, token_gaps_summary

start("start_here")

# %% [markdown]
# ## A number that hurts
#
# Two workers serve a language model. Twenty people ask it something within a second. Here is the answer of one of them,
# served in a simulation with a clock of its own, so you and I see the same numbers. (How long a step takes was measured
# once, on this course's tiny model.)

# %%
logs = explorer.logs(rate=20, prompt_tokens=256, policy=explorer.SHARED)
unlucky = max(logs, key=lambda log: max(np.diff(log.token_times_s)))
typical_ms = 1000 * np.median(np.diff(unlucky.token_times_s))
print(f"{len(unlucky.token_times_s)} tokens; half of them came within {typical_ms:.1f} ms of the one before")

# %% [markdown]
# **Predict, then run.** How long is the longest pause in this answer: twice as long? Five times?

# %%
print(token_gaps_summary(unlucky.token_times_s, limit_s=0.020))
token_gaps(unlucky.token_times_s, limit_s=0.020, title="One answer, as its reader sees it come")

# %% [markdown]
# Each flat piece is a time in which nothing comes. The server was not idle: somebody else's request went first. Soon you
# will see whose.
#
# ## Four times
#
# A model writes an answer one **token** at a time; a token is a word or a piece of one. Before the first, it must compute
# the whole prompt. That is **prefill**. The rest, token by token, is **decode**. The reader feels both:
#
# ```text
#  arrives      is taken up         1st token   2nd       3rd               last token
#     │              │                  │         │         │                    │
#     ├─── waits ────┼──── prefill ─────┼─────────┴─ decode ┴──      ⋯       ────┤
#     │                                 │         │         │                    │
#     ├───────────── TTFT ──────────────┼── ITL ──┼── ITL ──┼──      ⋯      ITL ─┤
#     │                                                                          │
#     ├────────────────────────────────── E2E ───────────────────────────────────┤
# ```
#
# | | what it is | the user asks |
# |:--|:--|:--|
# | **TTFT** | time to first token, from the arrival | When does it begin? |
# | **ITL** | inter-token latency: a gap between two tokens | Does it stumble? |
# | **TPOT** | time per output token: the mean gap of one answer | How fast does it flow? |
# | **E2E** | end to end: from the arrival to the last token | When is it done? |
#
# A server needs to write down only when a request arrived and when each token came out. All else is arithmetic, and
# you will write it now.
#
# ## Build it
#
# In each of the next four cells, put your code in the place of `raise NotImplementedError` and run the cell. The verdict
# appears below it. Times are in seconds. A wrong answer breaks nothing: the lesson goes on with a reference until yours
# passes.

# %% exercise="start_here.ttft_and_e2e"

# %% [markdown]
# Now the gaps, of all answers together.

# %% exercise="start_here.itl"

# %% [markdown]
# One number for one answer: how fast did it flow? You may use your `itl` here.

# %% exercise="start_here.tpot"

# %% [markdown]
# Is a TTFT of 0.2 s good? That depends on what was promised. Limits on TTFT and TPOT are **service level objectives**,
# SLOs. The share of requests that keep *both* is the **SLO attainment**.

# %% exercise="start_here.meets_slo"

# %% [markdown]
# ## What the numbers say, and what they hide
#
# Here are the four times of the unlucky reader.

# %%
ttft_s, e2e_s = ttft_and_e2e(*unlucky)
gaps_s, tpot_s = itl([unlucky.token_times_s]), tpot(unlucky.token_times_s)
print(f"TTFT {1000 * ttft_s:.0f} ms, E2E {1000 * e2e_s:.0f} ms")
print(f"TPOT {1000 * tpot_s:.1f} ms, longest gap {1000 * max(gaps_s):.0f} ms")

# %% [markdown]
# TPOT is a mean. The pauses are spread over the whole answer, and a pause that everybody would notice turns into a few
# milliseconds. To find a stall, look at the gaps.
#
# Beware of one more thing. Tools do not agree on what ITL means. Some pool all gaps of a run, as you did; then a long
# answer weighs more. Others take one mean per answer, which here is called TPOT.

# %%
pooled_s = itl([log.token_times_s for log in logs])
per_answer_s = [tpot(log.token_times_s) for log in logs]
print(f"median of all gaps: {1000 * np.median(pooled_s):.1f} ms")
print(f"median of the TPOT of the same answers: {1000 * np.median(per_answer_s):.1f} ms")

# %% [markdown]
# One run, two "ITLs". Neither is wrong. They must not be compared with one another.
#
# ## Three ways to use two workers
#
# The same twenty requests, the same two workers. Only who does what differs:
#
# - **prompts first:** each worker does prefill and decode; a new prompt goes before all answers;
# - **prompts in chunks:** the same, but a prompt is cut into pieces, and each step carries a piece and the answers;
# - **split:** one worker only computes prompts, the other only writes answers.
#
# In the upper half of the picture each dot is a request: its TTFT on the left, its TPOT on the right, computed by your
# functions if they pass. The dots are sorted, and the height says which share of the requests is that fast or faster. A
# cross is beyond the limit. The lower half shows who ran when. The unlucky reader is request 3.

# %%
explorer.explorer(ttft_and_e2e, tpot)

# %% [markdown]
# Three things to try:
#
# 1. Go through the three policies. Which dots move left, which move right?
# 2. Set *prompts first* and raise the rate. In the timeline, look for a blue bar that breaks off as an orange one begins.
# 3. Set the shortest prompts. Does the policy still matter?
#
# <details><summary>What you should have seen</summary>
#
# 1. From *prompts first* to *chunks* to *split*, the slow end of TPOT moves left, and that of TTFT moves right.
# 2. Each orange bar of a worker is a stall for all the answers on that worker.
# 3. Hardly: a short prompt stalls nobody for long.
# </details>

# %% [markdown]
# Which policy is best? Let `meets_slo` decide.


# %%
def share_good(rate: int, prompt_tokens: int, policy: str) -> float:
    good = []
    for arrival_s, started_s, times_s in explorer.logs(rate, prompt_tokens, policy):
        ttft_s, _ = ttft_and_e2e(arrival_s, started_s, times_s)
        good.append(meets_slo(ttft_s, tpot(times_s), explorer.LIMITS.ttft_s, explorer.LIMITS.tpot_s))
    return sum(good) / len(good)


# %%
for rate, prompt_tokens in ((20, 64), (20, 256), (10, 512)):
    shares = [f"{share_good(rate, prompt_tokens, policy):.0%}" for policy in explorer.POLICIES]
    print(f"{rate} requests/s, prompts of {prompt_tokens:>3}: ", end="")
    print(f"first {shares[0]}, chunks {shares[1]}, split {shares[2]}")

# %% [markdown]
# The order turns around. No policy wins everywhere, and when to choose which is what this course is about.
# (Twenty requests are few: one of them is 5%. Lesson 09 measures with care.)
#
# ## The same on a real model
#
# Now no simulation: a real language model, on this machine. It is tiny, and no great author. First, alone: one long
# prompt with a short answer.

# %% tags=["nbval-ignore-output"]
import torch

from course.engine.local import LocalEngine

torch.set_num_threads(1)  # a model this small gains nothing from more
engine = LocalEngine("tiny", scheduler="prefill-first")
engine.generate(burst.LONG_PROMPTS[0], max_new_tokens=4)  # the first time is always slow
engine.generate(burst.LONG_PROMPTS[0], max_new_tokens=16, ignore_end=True)
alone = engine.recorder.records[-1]
long_ttft_s, _ = ttft_and_e2e(alone.arrival_s, alone.arrival_s, alone.token_times_s)  # taken up at once
print(f"{alone.num_prompt_tokens} prompt tokens: TTFT {1000 * long_ttft_s:.0f} ms", end=", ")
print(f"then {1000 * tpot(alone.token_times_s):.1f} ms per token")
assert long_ttft_s > 3 * tpot(alone.token_times_s)

# %% [markdown]
# **Predict, then run.** Two users read along. Then four such prompts arrive at once. For how long do the two answers stop?

# %%
engine.start_over()
[anna] = engine.submit(burst.READERS[0], 80, burst.SAMPLING, ignore_end=True)
while len(anna.tokens) < 20:
    engine.step()
[ben] = engine.submit(burst.READERS[1], 80, burst.SAMPLING, ignore_end=True)
while len(anna.tokens) < 40:
    engine.step()

for prompt in burst.LONG_PROMPTS:
    engine.submit(prompt, 8, ignore_end=True)
while engine.num_unfinished:
    engine.step()

# %% [markdown]
# That was live. Here is Anna's answer again, four times slower, with the long gap written out.

# %% tags=["nbval-ignore-output"]
records = engine.recorder.records
stall_s = burst.longest_pause_s(records)
burst.replay(anna, records[0].token_times_s, limit_s=stall_s / 2)
assert stall_s > 5 * np.median(itl([records[0].token_times_s]))

# %% tags=["nbval-ignore-output"]
streams = {"Anna": records[0].token_times_s, "Ben": records[1].token_times_s}
print(f"four prompts, alone: 4 x {1000 * long_ttft_s:.0f} ms. The longest pause: {1000 * stall_s:.0f} ms")
assert stall_s > long_ttft_s
token_gaps(streams, limit_s=stall_s / 2, title="Two answers while a burst of long prompts arrives")

# %% [markdown]
# The line is flat for about as long as four prefills take. Nothing is broken. The worker does one thing at a time, and
# prompts go first.
#
# ## Split over two workers
#
# Give the prompts a worker of their own, and no prompt can stand in the readers' way. For now this runs on the virtual
# clock; lesson 11 does it with two real workers. The clock is told two things that you measured: the time of a step and
# the time of a prompt token. First we check it on what we know, one worker.

# %% tags=["nbval-ignore-output"]
from course.simulator.linear import LinearCost

cost = LinearCost(step_s=tpot(alone.token_times_s), token_s=long_ttft_s / alone.num_prompt_tokens)
one_worker, _ = burst.again(records, cost, num_workers=1)
print(f"longest pause: measured {1000 * stall_s:.0f} ms, on the virtual clock ", end="")
print(f"{1000 * burst.longest_pause_s(one_worker):.0f} ms")
assert 0.1 < burst.longest_pause_s(one_worker) / stall_s < 10

# %% [markdown]
# Now two workers, shared and split. The comparison is fair only if both have two.

# %% tags=["nbval-ignore-output"]
shared, _ = burst.again(records, cost)
split, history = burst.again(records, cost, split=True)
streams = {"Anna, shared": shared[0].token_times_s, "Anna, split": split[0].token_times_s}
assert burst.longest_pause_s(split) < 0.5 * burst.longest_pause_s(shared)
token_gaps(streams, limit_s=burst.longest_pause_s(shared) / 2, title="Two workers, on the virtual clock")

# %% [markdown]
# ## What got worse
#
# A cure has a price. Predict it before you run: who pays?

# %% tags=["nbval-ignore-output"]
for name, run in (("shared", shared), ("split", split)):
    pause_ms, start_ms = 1000 * burst.longest_pause_s(run), 1000 * burst.slowest_start_s(run)
    print(f"two workers, {name + ':':<7} longest pause {pause_ms:>4.0f} ms", end="; ")
    print(f"slowest long prompt, TTFT {start_ms:>5.0f} ms")
blocks = sum(move.num_blocks for move in history.moves)
print(f"{len(history.moves)} handovers moved {blocks} blocks of 16 tokens from one worker to the other")
assert burst.slowest_start_s(split) > 1.2 * burst.slowest_start_s(shared)

# %% [markdown]
# - **The long prompts pay.** One worker now reads all of them, while the other only writes.
# - **It takes a second worker.** With one, there is nothing to split.
# - **Every answer moves.** What the model remembers of a prompt, its *KV cache*, must go to the other worker. Here we
#   *assumed* 0.05 ms for 16 tokens. Lesson 02 says what it is, lesson 11 measures it on fast and slow links.
#
# ## Where published systems stand
#
# The words are the same everywhere. The definitions are not:
#
# | who | gaps between tokens | their mean over one answer | an answer of one token |
# |:--|:--|:--|:--|
# | [vLLM's `bench serve`](https://github.com/vllm-project/vllm/blob/main/vllm/benchmarks/serve.py) | **ITL**, pooled over all answers | TPOT | not in the TPOT statistics; 0 for goodput |
# | [AIPerf](https://github.com/ai-dynamo/aiperf) (NVIDIA) | inter-chunk latency | **ITL** | has none |
# | [DistServe's evaluation](https://github.com/LLMServe/DistServe/tree/main/evaluation) | – | TPOT | 0 |
# | [Etalon](https://github.com/project-etalon/etalon) | TBT | TPOT in its code; its documentation divides by **n** | – |
#
# So AIPerf's ITL is vLLM's TPOT. Before you compare two numbers, compute both anew from the time of each token. This course
# always keeps those.
#
# SLO attainment is, as in [DistServe (OSDI'24, section 1)](https://arxiv.org/abs/2401.09670), the share of requests that keep
# both limits. The highest request rate per GPU at which, say, 90% still do is its *per-GPU goodput*: lesson 09.
#
# ## Take away
#
# 1. **Two numbers are felt:** TTFT, until it begins, queueing included; and TPOT, how fast it flows. A mean hides a stall; the
#    gaps show it.
# 2. **Prefill and decode get in each other's way.** On a shared worker, one user's prompt is another user's pause.
# 3. **Every cure has a price.** Splitting takes the pause away and makes prompts wait. Always ask what got worse.
#
# ## How this course works
#
# You have used all of it already: cells that ask you to predict, exercises with a verdict, an explorer, a real run, a price.
# What you have solved is kept on this machine and shown here, at any time.

# %%
scorecard("start_here")

# %% [markdown]
# Something slow or broken? Open a terminal (*File → New → Terminal*) and type `python3 -m course doctor`: it says what and
# why. Made a mess? Ctrl + Z takes a cell's text back, and *Kernel → Restart Kernel* is a fresh start.
