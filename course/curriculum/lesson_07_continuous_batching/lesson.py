# ruff: noqa: D100, D101, D102, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - write a scheduler that decides before every step who runs, and let it serve a real model;
# - decide who may join a batch, by places and by memory;
# - take memory back when it runs out, so that nobody starves;
# - say what static batching wastes, and what continuous batching costs.
#
# You need two things from before. **Prefill** computes a whole prompt, **decode** adds a token (lesson 02). And the KV
# cache lies in **blocks** of a few tokens each (lesson 05). There are four exercises of one to ten lines. If you leave
# one open, the lesson goes on with the reference.

# %%
import math
from dataclasses import dataclass

import numpy as np
import torch

from course.curriculum.lesson_07_continuous_batching import explorer, real
from course.exercises import exercise, find, scorecard, start
from course.figures import Drawing, steps_grid, steps_summary, timelines, timelines_summary
from course.model.loading import load_model
from course.serving.schedulers import Orca, Static
from course.simulator.lockstep import serve_in_steps

start("continuous_batching")

# %% [markdown]
# ## A number that hurts
#
# A decode step reads all the weights of the model, for one sequence or for many (lesson 02). So a server makes a batch:
# it serves several requests in the same step. The obvious way: take four, serve them to the end, take the next four.
# This is **static batching**.
#
# Twelve people ask the tiny model at once. Their answers have these lengths, in tokens.

# %% tags=["nbval-ignore-output"]
torch.set_num_threads(1)
# In double precision: so exact that the company in a batch changes no token.
model = load_model("tiny", dtype="float64")
real.serve_once(model, Static(4), lengths=(4, 4))  # the first time is always slow
static = real.serve(model, Static(4), runs=2)
print("answers:", *real.LENGTHS)
print(f"all done after {1000 * static.seconds:.0f} ms")

# %% [markdown]
# **Predict, then run.** The eleventh answer has 11 tokens. Alone it would take about as many steps. How long did its
# reader wait for the first one?

# %% tags=["nbval-ignore-output"]
first_ms = [1000 * record.token_times_s[0] for record in static.records]
share = first_ms[10] / (1000 * static.seconds)
print(f"TTFT of the eleventh: {first_ms[10]:.0f} ms, {share:.0%} of the whole time")
assert first_ms[10] > 3 * first_ms[0]
timelines({"static": static.run}, "Four at a time, on the real model")

# %% [markdown]
# Look at the blue bars of the first four. Three end early, and one goes on alone for long. Three of four places are empty,
# and others wait, hatched. Nobody may come in before the longest is done.
#
# **Predict:** which share of the places stood empty, over the whole run? Put your guess here.

# %%
my_guess = 0.25

# %% [markdown]
# ## Build it 1: what stands empty

# %% exercise="continuous_batching.empty_share"

# %%
batches = [list(real.LENGTHS[i : i + 4]) for i in (0, 4, 8)]
for batch in batches:
    print(f"answers of {batch}: {max(batch)} steps, {empty_share(batch):.0%} empty")
num_steps = sum(max(batch) for batch in batches)
empty = 1 - sum(real.LENGTHS) / (4 * num_steps)
print(f"together {num_steps} steps, {empty:.0%} empty; your guess: {my_guess:.0%}")

# %% [markdown]
# More than half of the work that the machine could have done was not done. And nobody can sort the answers by length
# beforehand: how long one gets is known only when it ends.
#
# ## The idea: decide before every step
#
# A step takes some tens of milliseconds on a large model. There is no need to plan further ahead. Before each step, ask:
# who runs *now*? Then whoever is done leaves at once, and its place is filled in the next step. The paper that
# introduced this, [Orca (OSDI'22)](https://www.usenix.org/conference/osdi22/presentation/yu), calls it iteration-level
# scheduling. Today it is called **continuous batching**.
#
# Here it is in small, six requests and three places. A row is a request, a column is a step.

# %%
requests = [  # (arrives before step, prompt, answer, longest answer that the client declares)
    (0, 2, 6, 8), (0, 3, 2, 8), (0, 1, 3, 8), (1, 2, 2, 8), (2, 1, 3, 8), (3, 2, 2, 8),
]  # fmt: skip
in_small = {
    "static": serve_in_steps(Static(3), requests, num_blocks=64),
    "continuous": serve_in_steps(Orca(3), requests, num_blocks=64),
}
print(steps_summary(in_small))
Drawing(steps_grid(in_small))

# %% [markdown]
# ## Build it 2: who may join?
#
# A place in the batch is not enough. Each sequence also needs memory for its keys and values, in blocks. So two things
# run out: places and blocks. And there is an order: first come, first served.

# %% exercise="continuous_batching.joining"

# %% [markdown]
# The second waits although the third would fit:

# %%
print(joining([2, 6, 1], num_free_blocks=5, num_places=4))

# %% [markdown]
# **Predict:** a place stays empty, and blocks are free. Why not let the third go ahead?
#
# <details><summary>Answer</summary>
#
# Because there may be a fourth, and a fifth. If small ones always overtake, a large one never gets in: it **starves**.
# </details>
#
# ## Build it 3: a scheduler
#
# A scheduler is a class with one method. Before each step it is shown a `view` and answers with a plan. The same class
# serves a real model or a simulated one; it cannot tell which.
#
# | ask | and you get |
# |:--|:--|
# | `view.running`, `view.waiting` | sequences: on the device, in order of admission; not on it, in order of arrival |
# | `view.num_blocks` | all blocks of the device, free or not |
# | `view.blocks_for(num_tokens)` | blocks that hold so many tokens |
# | `sequence.num_tokens_at_most` | tokens it may come to need, if the answer gets as long as the client declared |
# | `sequence.num_known_tokens` | prompt and answer so far |
# | `draft = view.draft()` | an empty plan, which keeps count |
# | `draft.tokens_left(sequence)` | known tokens still to compute: the prompt at first, then one a step |
# | `draft.add(sequence, num_tokens)` | let it compute so many tokens in this step; one that waits joins by this |
# | `draft.plan` | the answer |
#
# When a check fails, it shows the requests as in the picture above: (arrives before step, prompt, answer, declared).
#
# You need not look for sequences that have ended. They are gone from `view.running` by themselves, and their blocks are
# free.
#
# How much memory must be free for one to join? Not just the prompt's: the answer grows with each step. If you admit
# what cannot finish, you run out of blocks halfway, with nobody able to go on. Orca's way is to set aside the most that a
# sequence may come to need, when it joins.

# %% exercise="continuous_batching.Reserving"

# %% [markdown]
# Yours beside the reference, with less memory than before: 22 blocks of one token. (If yours does not pass yet, you see
# the reference twice.)

# %%
reference = find("continuous_batching.Reserving").reference
beside = {
    "yours": serve_in_steps(Reserving(3), requests, num_blocks=22),
    "the reference": serve_in_steps(reference(3), requests, num_blocks=22),
}
print(steps_summary(beside))
Drawing(steps_grid(beside))

# %% [markdown]
# At first only two run, though there are three places: what is left of 22 blocks is too little to set aside for a third.
#
# ## The same on the real model
#
# Now your scheduler serves the twelve. Four places, as before. Two questions: are the tokens the same, and how long does
# it take? **Predict** the second.

# %% tags=["nbval-ignore-output"]
continuous = real.serve(model, Reserving(4), runs=2)
assert continuous.tokens == static.tokens
print(f"{sum(map(len, static.tokens))} tokens, all the same")
print(f"static {1000 * static.seconds:.0f} ms,", end=" ")
print(f"continuous {1000 * continuous.seconds:.0f} ms", end=": ")
print(f"{static.seconds / continuous.seconds:.1f} times as fast")
assert len(continuous.history.steps) < len(static.history.steps)

# %% tags=["nbval-ignore-output"]
both = {"static": static.run, "continuous": continuous.run}
timelines(both, "The same twelve requests, on the real model")

# %%
print(f"steps: static {len(static.history.steps)}, continuous {len(continuous.history.steps)}")
assert len(static.history.steps) == num_steps

# %% [markdown]
# No step became faster. There are fewer, because fewer places stand empty. That is all there is to it.
#
# ## And on an A100 that you do not have
#
# The same class, the same method, another clock: a simulated A100 with OPT-13B. The times of the steps are the fits by
# the authors of DistServe that you know from lesson 02
# ([`profiler-a100-80g.distserve.json`](https://github.com/LLMServe/DistServe/tree/main/simdistserve/estimators/profile_data)).
# A step that mixes prompts and answers was not measured by them; it is taken to cost both parts and one constant.
#
# 32 requests arrive, 8 a second.

# %%
arriving = explorer.workload(rate=8, spread=0.8)
lengths = sorted(arriving.output_lengths.values())
print(f"answers: {lengths[0]} to {lengths[-1]} tokens, half of them up to {lengths[15]}")
on_a100 = {
    "static": explorer.simulate(Static(16), arriving, kv_tokens=12_000),
    "continuous": explorer.simulate(Reserving(16), arriving, kv_tokens=12_000),
}
for name, run in on_a100.items():
    print(f"{name:<11}", explorer.say(run))

# %%
print(timelines_summary(on_a100))
timelines(on_a100, "32 requests on a simulated A100")

# %% [markdown]
# TTFT falls from seconds to less than a tenth of one, and about twice as many tokens come out each second. TPOT gets somewhat
# worse, and the longest gap more than three times as long. Keep that in mind.
#
# ## Memory that is set aside and never used
#
# `Reserving` plans for the longest answer that a client may want. Most are shorter. Here are four requests and little
# memory: 16 blocks.

# %%
tight = [(0, 2, 7, 12), (0, 2, 6, 12), (0, 2, 6, 12), (1, 1, 3, 12)]
reserving = serve_in_steps(Reserving(4), tight, num_blocks=16)
taken = [16 - step.num_free_blocks for step in reserving.steps]
print("blocks in use before each step, of 16:", *taken)

# %% [markdown]
# Half of the memory is never touched, and still only one request runs at a time. The alternative is bold: let one join
# if its prompt fits *now*, and give blocks to answers as they grow. One day they run out. Then somebody must go:
#
# - **Who?** The one that came last. So the one that came first always goes on, ends, and frees its blocks.
# - **What becomes of it?** Its blocks are freed. It goes to the head of the queue (`view.waiting` has it there), and
#   when it is let in again, prompt *and* answer so far are computed anew. This is **preemption** by recomputation.
#
# ## Build it 4: on demand
#
# Three more things to ask:
#
# | ask | and you get |
# |:--|:--|
# | `draft.blocks_needed(sequence, num_tokens)` | free blocks that so many more tokens of it would take |
# | `draft.num_free_blocks` | blocks that are left, with all that the plan says so far |
# | `draft.preempt(sequence)` | takes it off the device; its blocks count as free at once |

# %% exercise="continuous_batching.OnDemand"

# %%
compared = {"Reserving": reserving, "OnDemand": serve_in_steps(OnDemand(4), tight, num_blocks=16)}
print(steps_summary(compared))
Drawing(steps_grid(compared))

# %% [markdown]
# Look at request 2. It joins early, loses its place (the cross), comes back with a prefill, and ends. It has paid for its
# early start with a gap, and still ends before it would have begun in the upper picture.
#
# Does all this change a token? The real model once more, with places for all twelve and memory for 96 tokens.

# %%
on_demand = real.serve_once(model, OnDemand(12), num_blocks=6)  # of 16 tokens
assert on_demand.tokens == static.tokens
lost = sum(record.num_preemptions for record in on_demand.records)
print(f"preempted {lost} times; all {sum(map(len, on_demand.tokens))} tokens as before")

# %% [markdown]
# It does not. What is computed again is computed alike.
#
# ## Starvation
#
# Who yields, and who comes back first? Change the answer a little, and somebody waits for ever. Here is a scheduler that
# is like yours, but small requests go first. Small ones keep coming. Its rows are below, beside yours.


# %%
class SmallFirst:
    def __init__(self, max_num_sequences: int):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft = view.draft()
        for sequence in view.running:
            draft.add(sequence, 1)
        room = self.max_num_sequences - len(view.running)
        for sequence in sorted(view.waiting, key=lambda one: one.num_prompt_tokens):
            if room and draft.can_add(sequence, draft.tokens_left(sequence)):
                draft.add(sequence, draft.tokens_left(sequence))
                room -= 1
        return draft.plan


stream = [(0, 1, 1, 1), (0, 1, 2, 2), (0, 6, 2, 2), *[(i, 1, 2, 2) for i in range(1, 9)]]
ordered = {
    "small first": serve_in_steps(SmallFirst(2), stream, 99),
    "yours": serve_in_steps(OnDemand(2), stream, 99),
}
print(steps_summary(ordered))
Drawing(steps_grid(ordered, starved=[2]))

# %% [markdown]
# Request 2 waits as long as small ones come. On average little is wrong: the steps are as many and as full. Averages
# do not show starvation. First come, first served does not know it, and neither does your preemption.
#
# ## Explore
#
# One simulated A100, OPT-13B, 32 requests. *Reserving* and *OnDemand* are yours if they pass. *Prompts first* stops all
# answers while prompts wait (vLLM's first scheduler). *Answers first* lets nobody in until half of the places are
# empty. Dots are requests: TTFT on the left, TPOT on the right.

# %%
explorer.explorer(Reserving, OnDemand)

# %% [markdown]
# Four things to try:
#
# 1. From *static* to *Reserving*. Which dots move, and which way? Then set the spread to 0. Does static still lose?
# 2. Set *prompts first*, the limit 64 and 32 requests a second. In the timeline, look for blue bars that break off.
# 3. Set the memory to 3,000 tokens. *Reserving* against *OnDemand*: TTFT, and the number of bars in a row.
# 4. Batch limit 1, 4, 16. What do TTFT and TPOT do?
#
# <details><summary>What you should have seen</summary>
#
# 1. TTFT goes from seconds to less than a tenth of one, TPOT from 24 to 28 ms. With equal answers all of a
#    static batch end together, and it still loses: whoever comes late waits for the next one.
# 2. A stream of prompts stops everybody else: the longest gap is 750 ms. *Reserving* takes prompts and answers into the same
#    step, and its longest gap is 152 ms.
# 3. *OnDemand* begins answers several times sooner; bars of preempted ones are cut in two, with a pause in between.
# 4. TTFT falls, because more run at once. TPOT rises a little: a step with more sequences takes longer.
# </details>

# %% [markdown]
# The third as numbers:

# %%
for spread in (0.8, 0.0):
    print("a few long answers:" if spread else "all answers of 64 tokens, as declared:")
    for policy in (explorer.RESERVING, explorer.ON_DEMAND):
        run = explorer.serve(16, spread, 64, 3_000, policy, Reserving, OnDemand)
        print(f"  {policy:<10}", explorer.say(run))

# %% [markdown]
# With equal answers the clients declare what they need, and reserving wastes little. Then *OnDemand* still begins sooner,
# but it computes some answers twice, and in the end fewer tokens come out per second.
#
# ## What got worse
#
# - **The gaps.** In a static batch, answers flow evenly. Now each newcomer's prompt runs in the same step as everybody's
#   next token, and that step takes as long as the prompt does. Lesson 08 cuts prompts into pieces.
# - **TPOT.** Fuller batches are slower steps.
# - **Work done twice.** Who is preempted computes its tokens again. It can also be swapped to host memory instead.
# - **No promise.** `Reserving` never breaks off an answer. `OnDemand` may.

# %%
for name, (records, _) in on_a100.items():
    gap_s = max(np.diff(record.token_times_s).max() for record in records)
    print(f"longest gap, {name}: {1000 * gap_s:.0f} ms")

# %% [markdown]
# ## Where published systems stand
#
# | what | number | source |
# |:--|:--|:--|
# | scheduler by iteration, whole prompts in the same step, memory reserved | – | [Orca](https://www.usenix.org/conference/osdi22/presentation/yu) |
# | KV memory that holds tokens, in systems that reserve | 20.4% to 38.2% | [vLLM](https://arxiv.org/abs/2309.06180), section 1 |
# | request rate on ShareGPT, vLLM against Orca that reserves the maximum | 2.7 to 8 times | [vLLM](https://arxiv.org/abs/2309.06180), section 6 |
# | the same against Orca that knows each answer's length (*Oracle*) | 1.7 to 2.7 times | the same |
# | the same against static batching (FasterTransformer) | up to 22 times | the same |
# | preemption: the latest yields; recomputing wins with small blocks, swapping with large ones | alike at 16 to 64 tokens a block | [vLLM](https://arxiv.org/abs/2309.06180), sections 4.5, 7.3 |
# | gap between tokens when prompts and answers share a step, against answers alone | up to 28.3 times | [Sarathi-Serve](https://arxiv.org/abs/2403.02310), sections 3.2, 4.2 |
#
# The three rates are of vLLM as a whole, with kernels and memory of its own, against Orca as its authors rebuilt it. All
# but the last have the same scheduling by iteration, so what they gain comes from memory: larger batches. Even the
# *Oracle*, who sets aside exactly what is needed, sets it aside too early.
#
# ## Take away
#
# 1. **Decide before every step.** Who is done leaves at once, who waits joins at once. The tokens stay the same, and
#    there are fewer steps.
# 2. **Two things run out: places and blocks.** Set memory aside and waste it, or hand it out as it is needed and take
#    it back from the latest.
# 3. **Order is fairness.** Nobody overtakes, the earliest always goes on, the preempted come back first: so nobody
#    starves. Averages do not show whether you got it right.

# %%
scorecard("continuous_batching")
