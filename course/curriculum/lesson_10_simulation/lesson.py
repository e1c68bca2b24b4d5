# ruff: noqa: D100, D103, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - say how long a queue makes users wait, before there is one;
# - write a simulator of an LLM server: a heap of events, fifteen lines;
# - choose between two ways to use two GPUs, and say at which rate the choice turns;
# - fit how long steps take to measurements, and predict TTFT and TPOT of a real engine;
# - say what a simulation cannot know.
#
# You need prefill, decode and the cache (lesson 02), and batches that change with every step (lesson 07). There are five
# exercises of one to fifteen lines. If you leave one open, the lesson goes on with the reference.

# %%
import heapq
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from course.curriculum.lesson_10_simulation import explorer, plan, real
from course.engine.profiling import StepShape, StepTimer
from course.exercises import exercise, scorecard, start
from course.figures import predicted_measured, predicted_measured_summary, token_rows, token_rows_summary
from course.model.loading import load_model
from course.simulator.experiment import load_experiment
from course.simulator.reproduce.queueing import ConstantCost, simulated_mean_ttft_s
from course.simulator.simulate import simulate
from course.workload.arrivals import poisson_arrivals

torch.set_num_threads(1)
start("simulation")

# %% [markdown]
# ## A number that hurts
#
# You rent one A100 for OPT-13B. A prompt of 512 tokens takes it 72 ms, by the measurements of DistServe's authors that
# you know from lesson 02
# ([`profiler-a100-80g.distserve.json`](https://github.com/LLMServe/DistServe/tree/main/simdistserve/estimators/profile_data)).
# So it can do nearly 14 prompts in a second. You promise 13. If one comes every 77 ms, each finds the GPU free.

# %%
prefill_s = explorer.OPT_13B_PREFILL.ttft_s(512)
print(f"a prefill takes {1e3 * prefill_s:.1f} ms: {1 / prefill_s:.1f} in a second at most")


def in_line(arrivals_s, prefill_s):
    """One after the other: each begins when it arrives, or when the one before is done."""
    done_s, ttfts_s = 0.0, []
    for arrival_s in arrivals_s:
        done_s = max(arrival_s, done_s) + prefill_s
        ttfts_s.append(done_s - arrival_s)
    return ttfts_s


evenly_s = in_line(np.arange(20_000) / 13, prefill_s)
print(f"13 a second, evenly: mean TTFT {1e3 * np.mean(evenly_s):.0f} ms")

# %% [markdown]
# But users do not come evenly. They know nothing of each other, so they come at random: a **Poisson process**.
#
# **Predict:** 13 a second, as before, but at random. The GPU is as fast as before. What is the mean TTFT, in ms?

# %%
my_guess_ms = 80

# %%
randomly_s = in_line(poisson_arrivals(20_000, 13, seed=0), prefill_s)
print(f"13 a second, at random: mean TTFT {1e3 * np.mean(randomly_s):.0f} ms")
print(f"your guess: {my_guess_ms} ms")
print(f"one in a hundred waits longer than {np.percentile(randomly_s, 99):.1f} s")

# %% [markdown]
# Eight times as long, and nothing is broken. The GPU is busy 94% of the time, and that is the trouble. Whoever plans
# with 14 a second buys too little. Can we know that before we buy?
#
# ## The idea: a queue
#
# Three numbers say it all, as long as all prompts are alike:
#
# - **R**, the rate: prompts per second that arrive;
# - **D**, the service time: seconds that one prefill takes;
# - **R·D**, the load: the share of time in which the GPU is busy. It must stay below 1.
#
# Random arrivals (M), one fixed service time (D), one server (1): that is the **M/D/1** queue. Its mean wait has been
# known for nearly a century (Pollaczek and Khinchine):
#
#     wait = R · D² / (2 · (1 − R·D))
#
# [DistServe (section 3.1)](https://arxiv.org/abs/2401.09670) begins its argument with it.
#
# ## Build it 1: the formula

# %% exercise="simulation.mean_ttft"

# %%
print(f"at 13 a second, by formula: {1e3 * mean_ttft(13, prefill_s):.0f} ms")
for load in (0.1, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0):
    print(f"load {load:4.0%}: mean TTFT {mean_ttft(load, 1.0):5.2f} prefills")

# %% [markdown]
# 617 where 20,000 prompts in line gave 560: near enough for now. And look at the column. Half busy costs half a prefill;
# from 90% to 99% it costs 45 more.
#
# ## The idea: events
#
# A formula knows one kind of request, and only its mean. A server does more. It takes several prompts into a step, then
# gives answers their tokens, and stops them when the next prompt comes. There is no formula for that. But we can **play
# it through**, without a GPU: it is enough to know *how long* each step would take.
#
# Between two things that happen, nothing happens. So the clock may jump. All that a simulator needs is
#
#     events    a heap of (when, what): arrivals, and the end of the step under way
#     waiting   requests that have arrived and have no token yet
#     running   requests that have begun and still want tokens
#
# and three rules:
#
# 1. Take the **earliest** event. Its time is now. Nothing is done before its time.
# 2. First **all** that happens at this instant, then decide.
# 3. Whoever begins something puts its **end** on the heap.
#
# Two requests, steps of one second. The first wants three tokens and comes at 0; the second wants one, and comes at 0.5:
#
# | now | what happens | what begins |
# |--:|:--|:--|
# | 0.0 | request 0 arrives | a step with the prompt of 0, until 1.0 |
# | 0.5 | request 1 arrives | nothing: a step is under way |
# | 1.0 | the step ends: first token of 0 | a step with the prompt of 1, until 2.0 |
# | 2.0 | the step ends: first token of 1, which is done | a step with the answer of 0, until 3.0 |
# | 3.0 | the step ends: second token of 0 | another, until 4.0 |
# | 4.0 | the step ends: third token of 0, which is done | nothing; the heap is empty, and that is the end |
#
# **Predict:** why is a new prompt served before an answer that has begun? Who pays?
#
# <details><summary>Answer</summary>
#
# It is this server's policy: prompts first. It keeps TTFT low. Request 0 pays, with a gap between its first and its second
# token. (In lesson 07's explorer it is one of the choices, *prompts first*.)
# </details>
#
# ## Build it 2: a simulator

# %% exercise="simulation.serve"

# %% [markdown]
# The table above, drawn by your loop:

# %%
two = [(0.0, 2, 3), (0.5, 2, 1)]  # (arrival, tokens of the prompt, tokens of the answer)
by_your_loop = {"served": serve(two, lambda prompts, contexts: 1.0)}
print(token_rows_summary(by_your_loop, [0.0, 0.5]))
token_rows(by_your_loop, [0.0, 0.5])

# %% [markdown]
# Is it right? First of all, against what we know already. One prompt at a time, answers of one token: that is the line
# from above, and M/D/1.

# %%
print("load    formula   your loop   in prefills")
for load in (0.3, 0.6, 0.9):
    arrivals_s = poisson_arrivals(20_000, load, seed=0).tolist()
    tokens = serve([(arrival_s, 1, 1) for arrival_s in arrivals_s], lambda prompts, contexts: 1.0)
    ttfts_s = [row[0] - arrival_s for row, arrival_s in zip(tokens, arrivals_s, strict=True)]
    assert np.allclose(ttfts_s, in_line(arrivals_s, 1.0))  # every single one
    print(f"{load:4.0%}  {mean_ttft(load, 1.0):>9.2f} {np.mean(ttfts_s):>11.2f}")

# %% [markdown]
# Prompt by prompt it is the line (Lindley's recursion, 1952). And the line comes close to the formula, but not all the way. Keep that in mind.
#
# ## Two GPUs
#
# One is not enough, so you rent a second. There are two ways to let both work on prompts:
#
#     tensor      GPU 0   prompt 0 │ prompt 1 │ prompt 2 │        half of each layer
#                 GPU 1   prompt 0 │ prompt 1 │ prompt 2 │        the other half
#
#     pipeline    GPU 0   prompt 0  │ prompt 1  │ prompt 2  │     the first half of the layers
#                 GPU 1             │ prompt 0  │ prompt 1  │     the second half
#
# **Tensor parallel** (also: intra-op) makes each prompt faster, K times, but not twice: the two exchange results in each
# layer, and that takes time.
# **Pipeline parallel** (inter-op) makes no prompt faster, but a new one may begin after half the time.
#
# **Predict:** which gives the better TTFT if few prompts come? And if very many do?
#
# ## Build it 3: tensor

# %% exercise="simulation.tensor_ttft"

# %% [markdown]
# ## Build it 4: pipeline

# %% exercise="simulation.pipeline_ttft"

# %%
print("load of one GPU    one   tensor, K = 1.5   pipeline   (in prefills of one GPU)")
for load in (0.1, 0.5, 0.8, 0.95, 1.2, 1.6):
    means = mean_ttft(load, 1.0), tensor_ttft(load, 1.0, 1.5), pipeline_ttft(load, 1.0)
    print(f"{load:>15.2f} {means[0]:>6.2f} {means[1]:>17.2f} {means[2]:>10.2f}")

# %% [markdown]
# With few prompts TTFT is the prefill itself, and tensor wins. With many it is the queue, and the pipeline wins, for it
# takes 2 prompts in the time of one, tensor only K. In between they cross.
#
# The formula says that prompts queue before the first stage alone. Is it so? Two stages are two of your servers, one
# behind the other: what leaves the first arrives at the second. And here is the course's own simulator, whose pipelines
# have stages.

# %%
num, load = 5_000, 1.2
arrivals_s = poisson_arrivals(num, load, seed=0).tolist()
at_second = serve([(arrival_s, 1, 1) for arrival_s in arrivals_s], lambda prompts, contexts: 0.5)
leave = serve([(row[0], 1, 1) for row in at_second], lambda prompts, contexts: 0.5)
two_of_yours = np.mean([row[0] for row in leave]) - np.mean(arrivals_s)
waits_between = max(out[0] - into[0] - 0.5 for out, into in zip(leave, at_second, strict=True))
stages = ConstantCost(1.0, num_stages=2)
one_pipeline = simulated_mean_ttft_s(load, stages, np.ones(num, int), num_stages=2)
assert abs(two_of_yours - one_pipeline) < 1e-9
assert waits_between < 1e-9
print(f"two of yours {two_of_yours:.3f}, one pipeline {one_pipeline:.3f} prefills")
print(f"formula {pipeline_ttft(load, 1.0):.3f}")

# %% [markdown]
# Nobody waits between the stages, and both simulators agree on every digit.
#
# ## Explore
#
# Curves are your formulas, marks are your `serve`, with 600 prompts each. On the right: the prompts of the simulation, one
# by one, at the rate that you choose.

# %% id="explore-queues"
explorer.explorer(mean_ttft, tensor_ttft, pipeline_ttft, serve)

# %% [markdown]
# Four things to try:
#
# 1. Move K. Where do the two curves of two GPUs cross at K = 1.2, and at 1.9? Which way does a faster link push you?
# 2. 12 requests a second, K = 1.5. Which of the two has the better mean TTFT? And the better 90th percentile?
# 3. Prompts of 2,048 tokens. What can two GPUs do in a second, at most, tensor and pipeline?
# 4. 14 requests a second, and the spread from 0 to 1. What happens to the marks? Who is ahead now?
#
# <details><summary>What you should have seen</summary>
#
# 1. At 6 and at 23 a second. Faster exchange, larger K: tensor stays ahead for longer.
# 2. The mean says tensor (80 against 86 ms), the 90th percentile says pipeline (138 against 114 ms). A formula for means
#    cannot tell you that.
# 3. K / D and 2 / D: 5.8 and 7.8. One GPU ends at 3.9.
# 4. They leave the curves, upwards: with long prompts among them, others wait longer. And the pipeline loses its lead: a long
#    prompt in the first stage leaves the second with nothing to do. That is a **bubble**, and the formula has none.
# </details>
#
# K itself is no constant. From DistServe's fits for one A100 and for two:

# %%
one_gpu, two_gpus = (real.published_step("distserve-a100", tp=tp) for tp in (1, 2))
for prompt in (64, 512, 2048):
    print(f"a prompt of {prompt:>5}: K = {one_gpu([prompt], []) / two_gpus([prompt], []):.2f}")

# %% [markdown]
# ## How long does a step take?
#
# So far we took that from others. For a machine of our own we measure it. Nobody can measure every step that may ever
# come. But lessons 02 and 03 say what a step consists of, so a few constants are enough
# ([DistServe, appendix A](https://arxiv.org/abs/2401.09670)):
#
#     prefill   a + b · Σ len + c · Σ len²      weights; tokens through them; tokens looking back
#     decode    a + b · Σ context + c · batch   weights; caches; each sequence's own work
#
# We run some of each on the engine, several rounds, on this machine. It takes a few seconds. The clock counts the time that
# our own program computes: what else this machine does is none of our business.

# %% tags=["nbval-ignore-output"]
model = load_model("tiny")
prefills, decodes = real.record(model)
for kind, (lengths, seconds) in (
    ("a prompt", prefills[3]),
    ("two prompts", prefills[9]),
    ("one decode", decodes[1]),
    ("four decodes", decodes[9]),
):
    print(f"{kind:<12} {lengths!s:<20}", *(f"{1e3 * s:5.1f}" for s in sorted(seconds)), "ms")
assert all(len(seconds) == 5 for _, seconds in prefills + decodes)

# %% [markdown]
# **Predict:** two prompts in one step, of 128 and 32 tokens. Which squares belong to it: 128² + 32², or (128 + 32)²?
#
# ## Build it 5: fit the constants

# %% exercise="simulation.fit_steps"

# %% tags=["nbval-ignore-output"]
cost = real.Fitted(fit_steps(prefills, decodes=False), fit_steps(decodes, decodes=True))
for kind, (a, b, c) in (("prefill", cost.prefill), ("decode", cost.decode)):
    print(f"{kind:<8} {1e3 * a:.2f} ms, {1e6 * b:.2f} µs, {1e6 * c:.3f} µs")
pairs = {
    "prefill": [(cost.step_s(lengths, []), np.median(seconds)) for lengths, seconds in prefills],
    "decode": [(cost.step_s([], lengths), np.median(seconds)) for lengths, seconds in decodes],
}
print(predicted_measured_summary(pairs))
off = np.median([abs(fit / real_s - 1) for fit, real_s in pairs["prefill"]])
assert off < 0.5, f"half of the prefills are {off:.0%} off or more: do the forms fit?"

# %% tags=["nbval-ignore-output"]
assert all(min(pair) > 0 for both in pairs.values() for pair in both)
predicted_measured(pairs, "Steps of the tiny model, fitted and measured")

# %% [markdown]
# Six constants for 32 kinds of steps. On the right you see how far off each of them is. If a whole group lies on one side,
# the form is missing something; if they scatter, the machine was busy.
#
# ## The same on the real model
#
# Now the claim: **your loop and your constants know what the engine will do**. 24 requests, half as many a second as it
# could do at most. First the prediction, then the engine. (On the same clock; where nobody waits, it jumps to the next
# arrival, so that we need not wait either.)

# %% tags=["nbval-ignore-output"]
at_once = real.jobs_of(real.some_workload(24, math.inf, model.config.vocab_size))
whole_s = max(row[-1] for row in serve(at_once, cost.step_s, most_prompts=24))
workload = real.some_workload(24, 0.5 * 24 / whole_s, model.config.vocab_size)
jobs = real.jobs_of(workload)

tokens = serve(jobs, cost.step_s, most_prompts=24)
predicted = real.records_of(jobs, tokens)
print(f"all at once: done after {whole_s:.1f} s")
print(f"{0.5 * 24 / whole_s:.1f} a second: done after {max(row[-1] for row in tokens):.1f} s")
assert sum(map(len, tokens)) == sum(answer for _, _, answer in jobs)

# %% [markdown]
# Before we look at the clock: a third witness. The course's simulator runs the real scheduler, the very object that the
# engine will run, on a virtual clock. It asks your constants how long a step takes. Does it come to the same times as your
# fifteen lines?

# %% tags=["nbval-ignore-output"]
simulated, num_events = real.on_the_virtual_clock(workload, cost)
for record, row in zip(simulated, tokens, strict=True):
    assert np.allclose(list(record.token_times_s), row, rtol=0, atol=1e-9)
print(f"{sum(map(len, tokens))} tokens, all at the same times")

# %% tags=["nbval-ignore-output"]
measured = real.on_the_engine(model, workload)
latencies = real.latencies(predicted, measured)
print(predicted_measured_summary(latencies))
for name, both in latencies.items():
    ratio = np.median([told / found for told, found in both])
    assert 0.1 < ratio < 10, f"{name}: predicted {ratio:.2f} times what was measured"  # much closer if nobody disturbs

# %% tags=["nbval-ignore-output"]
assert all(min(pair) > 0 for both in latencies.values() for pair in both)
predicted_measured(latencies, "24 requests: your prediction, and the engine")

# %% [markdown]
# None of these requests was measured beforehand. All that was told is lengths, times of arrival, and six constants. How
# far off are you? The two lines above say it, for half of the requests and for nine in ten.
#
# Why not closer? Two reasons. **The machine:** if nearly all points lie on one side, it became busier or calmer after the
# profile. (Neighbours take no time of ours, but room in the processor's caches. Run the cells from the profile on again.)
# **The queue:** whether a prompt comes just before or just after a step begins is a matter of a millisecond, and it costs
# a whole step of TTFT.
#
# One scheduler, two clocks. That is why a simulation can be believed, and when it cannot be: what it decides is the real
# thing, how long things take is a model.
#
# ## Somebody else's simulator
#
# DistServe's authors released theirs, *simdistserve*. Its rules for a GPU that does both phases are those of your `serve`,
# with their constants. The course has its settings as a preset: 1,000 requests with lengths as in ShareGPT, 2 a second.

# %%
theirs = simulate(load_experiment("simdistserve-colocated"))
jobs = real.jobs_of(theirs.workload)
vllm, steps = real.published_step("vllm-a100"), []


def counted(prompts, contexts):
    steps.append((len(prompts), len(contexts)))
    return vllm(prompts, contexts)


mine = serve(jobs, counted, most_prompts=real.NO_LIMIT)
for record, row in zip(theirs.records, mine, strict=True):
    assert np.allclose(list(record.token_times_s), row, rtol=0, atol=1e-9)
print(f"{sum(map(len, mine)):,} tokens of {len(mine):,} requests: none is off by a nanosecond")

# %% [markdown]
# The preset, in turn, gives simdistserve's own answers: every TTFT and TPOT of 1,000 requests, to 5e-10 seconds. (That is
# in the course's register of published results, `docs/reproduction.md`; `python -m course reproduce distserve` computes
# it anew.) So your fifteen lines are a published simulator, for one GPU.
#
# ## Skip what is boring
#
# Most steps are alike. As long as nobody comes or goes, a decode step follows the other, each longer than the last by
# b · batch. Those are the terms of an arithmetic series, and its sum is a formula. So the course's simulator makes one event
# of them all. It is cut short if somebody arrives meanwhile, and the time of every token still follows. Splitwise's
# simulator ([ISCA'24](https://arxiv.org/abs/2311.18677)) has the same idea.

# %%
print(f"events: yours {len(jobs) + len(steps):,}, without the boring ones {theirs.num_events:,}")

# %% [markdown]
# ## Explore: before you buy
#
# Your `serve` on GPUs that you do not have, with DistServe's fits for its own engine. The dashed lines are the limits of a
# chatbot in DistServe's Table 1 (OSDI'24).

# %% id="explore-servers"
plan.explorer(serve)

# %% [markdown]
# Four things to try:
#
# 1. OPT-13B on one A100. How many requests a second can it take, if nine in ten shall keep both limits? Which limit breaks
#    first?
# 2. The same on two. Is it twice as many?
# 3. Two A100, 20 a second. Simulate 75, 150, 300, 600 requests. What would you have bought?
# 4. One A100, 10 a second, and from 4 prompts in a step down to 1. Why do *answers* suffer?
#
# <details><summary>What you should have seen</summary>
#
# 1. 10. At 11 it is 65%. TPOT breaks: every prompt that comes stops all answers. (Chunked prefill and disaggregation are two
#    ways out: lessons 08 and 11.)
# 2. No: 16. K is not 2. Two servers with one A100 each would do better, as long as TTFT is short enough.
# 3. With 75 and 150 requests, 99% and 96% keep the limits. With 600 it is 33%. Too much comes in, the answers pile up, and a
#    short run ends before it hurts.
# 4. A step with one prompt pays the constant for it alone. So prompts take more steps, and answers stand still in each of
#    them: 60% keep both limits instead of 92%.
# </details>
#
# ## What got worse
#
# A simulation is cheap. That is its danger: it always gives a number. Where does it go wrong?
#
# **It is a sample.** The number that hurt at the beginning, ten times, with 600 prompts each:

# %%
runs_s = [in_line(poisson_arrivals(600, 13, seed), prefill_s) for seed in range(10)]
print("mean TTFT in ms:", *(f"{1e3 * np.mean(run_s):.0f}" for run_s in runs_s))
print(f"by formula: {1e3 * mean_ttft(13, prefill_s):.0f}")

# %% [markdown]
# The same setting, and a factor of three between the answers: near the limit, 600 prompts are nothing. Most are too low,
# for each run begins with an empty queue. Say how long you ran, and with how many seeds.
#
# **It believes its constants.** The same GPU, the same model, two engines, and a fit beyond its seam:

# %%
distserve = real.published_step("distserve-a100")
for name, engine in (("DistServe's engine", distserve), ("vLLM", vllm)):
    print(f"a prompt of 512: {1e3 * engine([512], []):.0f} ms with {name}")
for batch in (94, 95):
    print(f"a decode step of {batch}, 100 tokens each: {1e3 * distserve([], [100] * batch):.1f} ms")

# %% [markdown]
# (75 ms, where it was 72 at the beginning: their simulator adds 3 ms, in which a step is handed to the GPU.) Who compares
# two *schedulers* with two sets of constants compares kernels, too. And a step becomes faster when one more takes part?
# Two fits that do not meet.
#
# **It knows nothing that it was not told.** The longest prompt of our profile has 512 tokens, the largest batch 16.
# **Predict:** how far off are the constants for a prompt of 2,048, and for 64 decodes?

# %% tags=["nbval-ignore-output"]
timer = StepTimer(model, clock=time.thread_time)
for name, prompts, contexts in (("a prompt of 2,048", [2048], []), ("64 decodes", [], [256] * 64)):
    shape = StepShape(prompts=tuple((0, n) for n in prompts), contexts=tuple(contexts))
    real_s = np.median([timer.time_s(shape) for _ in range(3)])
    told_s = cost.step_s(prompts, contexts)
    print(f"{name}: {1e3 * told_s:.0f} ms predicted, {1e3 * real_s:.0f} ms measured")
    assert real_s > 0

# %% [markdown]
# Perhaps they are close, perhaps not. Nothing in the profile could have told you: a form that fits inside what was measured
# may be anything outside.
#
# Also: `serve` was told the length of every answer, and it never runs out of memory. A server knows the one only at the end
# and must live with the other. (The course's simulator has blocks and preemption; its schedulers cannot see lengths.)
#
# ## Where published systems stand
#
# | what | number | source |
# |:--|:--|:--|
# | step times of DistServe's simulator | the two forms above; two fits for decode, from 95 sequences on another | [DistServe](https://arxiv.org/abs/2401.09670), appendix A, and its code |
# | tensor or pipeline | low rates: tensor; high rates: pipeline; a tighter TTFT favours tensor | [DistServe](https://arxiv.org/abs/2401.09670), section 3.1 |
# | its search for the best placement, by simulation | below 1.3 minutes on 96 cores, largest setting | [DistServe](https://arxiv.org/abs/2401.09670), section 6.5 |
# | moving keys and values, in its simulator | takes no time | [its code](https://github.com/LLMServe/DistServe/tree/main/simdistserve) |
# | a step with prompts and decodes, in Splitwise's | 1.1 times the prompts' time | [its code](https://github.com/Mutinifni/splitwise-sim) |
# | size of chunks, chosen with a simulator (Vidur) | 512 tokens for strict limits, 2,048 for relaxed ones | [Sarathi-Serve](https://arxiv.org/abs/2403.02310), sections 4.3, 5.1 |
# | where disaggregation pays | hundreds of thousands of simulated designs | [Beyond the Buzz](https://arxiv.org/abs/2506.05508) |
#
# The second row, by your own two formulas. At which load do they cross?

# %%
yours = explorer.Learner(mean_ttft, tensor_ttft, pipeline_ttft, serve)
crossings = [(k, explorer.meeting(yours, 1.0, k)) for k in (1.2, 1.4, 1.6, 1.8)]
print("; ".join(f"K = {k}: {found[0]:.2f}" for k, found in crossings if found))

# %% [markdown]
# ## Take away
#
# 1. **A busy server is a slow one.** Random arrivals queue, and the wait grows like 1 / (1 − load). Never plan with 1 / D.
# 2. **A simulator is a heap.** Take the earliest event, and all others of that instant; then decide. What begins puts its end
#    on the heap. The real scheduler decides; a few fitted constants say how long it takes.
# 3. **Check it three ways:** against a formula where there is one, against another simulator, and against the clock. Where
#    you have not, say so.

# %%
scorecard("simulation")
