# ruff: noqa: D100, E402, E501, F401, F821
# mypy: ignore-errors

# %% [markdown]
# You will be able to
#
# - move a sequence, with its keys and values, from one worker to another, so that no token is lost or repeated;
# - say what such a move costs, on any link and for any model, and when it costs nothing;
# - run prefill and decode in two processes on this machine, and kill one of them while somebody reads;
# - decide whether splitting is worth it, and what to do if your network is slow.
#
# You need blocks and block tables (lesson 05), and chunked prefill (lesson 08). There are five exercises of one to ten
# lines. If you leave one open, the lesson goes on with the reference.

# %%
import math

import numpy as np
import torch

from course.curriculum.lesson_11_disaggregation import explorer, live, remedies
from course.curriculum.lesson_11_disaggregation.memories import Pool, Worker, draw_pools, move_between
from course.engine.local import LocalEngine
from course.exercises import exercise, scorecard, start
from course.figures import Drawing, WatchedCluster, timeline, token_gaps, token_gaps_summary
from course.model.loading import load_model
from course.simulator.shapes import load_shape

start("disaggregation")

# %% [markdown]
# ## A number that hurts
#
# Lesson 08 cut long prompts into chunks, so that no answer stands still for a whole prompt. Here are two simulated
# A100s that do so, with OPT-13B, 4 requests a second, and prompts of about 1,024 tokens. One reader's answer:

# %%
together = explorer.together(explorer.OPT, rate=4, prompt_tokens=1024)
reader = max(together.records, key=lambda record: np.mean(np.diff(record.token_times_s)))
print(token_gaps_summary(reader.token_times_s, limit_s=0.05))
token_gaps(reader.token_times_s, limit_s=0.05, title="An answer on a server that shares its steps with prompts")

# %% [markdown]
# No long stall is left. But again and again a step takes three times as long as the others: it carries a chunk of
# somebody else's prompt. How often, over all answers?

# %%
gaps_ms = explorer.gaps_ms(together)
print(f"median gap {np.median(gaps_ms):.0f} ms; longer than 50 ms: {np.mean(gaps_ms > 50):.0%} of all")

# %% [markdown]
# Smaller chunks would shorten these steps, and there would be more of them. The work does not go away: whoever shares a
# GPU with prompts waits for prompts.
#
# **Predict.** Same two GPUs, same requests. One computes only prompts, the other writes only answers. What happens to
# the gaps? And who pays?

# %%
split = explorer.apart(explorer.Settings(link=explorer.NVLINK, rate=4, prompt_tokens=1024))
for name, run in (("together", together), ("apart", split)):
    half, most = np.percentile(explorer.gaps_ms(run), (50, 99))
    print(f"{name:>8}: half of the gaps within {half:.0f} ms, 99% within {most:.0f} ms")
    half, most = np.percentile(explorer.ttfts_ms(run), (50, 90))
    print(f"          half of the TTFTs within {half:.0f} ms, 90% within {most:.0f} ms")

# %% [markdown]
# The tail of the gaps is gone. The median is a little longer, for one GPU now writes all answers. And prompts wait
# longer, for one GPU computes them all. This is **disaggregation**, and its question is: who is allowed to wait?
#
# ## The idea: a handover
#
# The prefill worker computes the prompt and samples the first token. All that the decode worker lacks is the prompt's
# keys and values. They lie in blocks (lesson 05). So the blocks have to move:
#
# ```text
#    prefill worker                                   decode worker
#
#    prompt ─► prefill ─► first token ───────────────────────────────────► reader
#                 │
#            blocks 0, 1    ── 1 reserve ──────────►  2 blocks? yes: 7, 6
#                           ══ 2 copy 0→7, 1→6 ════►
#                           ── 3 commit ───────────►  7, 6 are the truth now
#            4 free 0, 1                                   │
#                                                     decode ─► 2nd, 3rd … ► reader
# ```
#
# One block is an array of [layers, 2, KV heads, 16, head_dim]: in each layer keys and values of 16 tokens. Four things
# can go wrong:
#
# - the decode worker has **no room**: then it must say so, and the sequence waits where it is;
# - the source **frees too early**: then the next prompt overwrites what is still being copied;
# - block numbers are **mixed up**: 0 and 1 mean something else over there;
# - the first token is **lost or comes twice**: it was sampled, and it is in no cache yet.
#
# First the price of the double line.
#
# ## Build it 1: how long does a move take?
#
# Memory is counted in bytes and powers of two. Links are sold in bits and powers of ten. Beware.

# %% exercise="disaggregation.transfer_s"

# %% [markdown]
# A prompt of 512 tokens on OPT-13B (40 layers, 40 KV heads of 128 numbers), over links that you can buy. To compare: a
# decode step with one answer takes 22 ms there.

# %%
for name, link in explorer.LINKS.items():
    seconds = transfer_s(512, 40, 40, 128, gbit_s=8e-9 * link.bandwidth_bytes_s, latency_s=link.latency_s)
    print(f"{name:<22} {1e3 * seconds:>8.1f} ms")

# %% [markdown]
# NVLink is sold as 600 GB/s, both directions together; one direction has 300, and that is what a move gets.
#
# From NVLink to Ethernet it is a factor of a hundred. **Predict:** up to which bandwidth is splitting reasonable at all?
# What would you compare the time of a move with?
#
# ## Build it 2: break-even
#
# With the prefill before it. If a move takes as long as the prefill, three things are true at once:
#
# - the decode worker could have computed the prompt anew in the same time;
# - a prefill worker that never rests fills the link completely;
# - if layers are sent while others are computed (you will build that), nearly all of the move can be hidden.
#
# Below that bandwidth, some of each move is felt by somebody, whatever you do.

# %% exercise="disaggregation.break_even_gbit_s"

# %%
for machine, it in explorer.MACHINES.items():
    if machine != explorer.ONE_CARD:
        shape = load_shape(it.model)
        print(f"{machine}: {shape.kv_bytes_per_token:,} bytes per token")
        for num_tokens in (128, 512, 2048):
            seconds = explorer.prefill_s(machine, num_tokens)
            needed = break_even_gbit_s(num_tokens * shape.kv_bytes_per_token, seconds)
            print(f"   {num_tokens:>5} tokens: prefill {1e3 * seconds:>4.0f} ms, break-even {needed:>5.1f} Gbit/s")

# %% [markdown]
# (Prefill times: DistServe's fit to OPT-13B on an A100, a roofline for Llama-3.1-8B, and this course's measured profile of
# the tiny model.)
#
# Two models that are not far apart in size, and a factor of two to three between them. OPT has keys and values for each
# of its 40 heads. Llama shares 8 among 32 (GQA, lesson 01). The tiny model would be content with half a home network,
# because a CPU core computes so slowly. **It is not the bandwidth that counts, but bandwidth against compute.**
#
# ## Build it 3: the handover
#
# Now the four steps. The copy itself is done by the engine; you decide what may be copied where, and who holds what.
#
# | call | when | and then |
# |:--|:--|:--|
# | `reserve(request, blocks)` | a prompt is computed | the pairs are copied; after None you are asked again later |
# | `commit(request)` | all pairs are copied | the decode worker goes on with the table that you return |
# | `give_up(request)` | the copy broke off | `reserve` will be called again |
#
# Several moves can be under way, and while they are, the source computes other prompts. If a check fails, it tells a story
# such as `A=XYZ; reserve A; copy A; commit A; end A` (the prompt of A is XYZ, and two letters fill a block). Below it
# are both pools as they were when it went wrong: blocks that are lost, or free and still needed, are red.

# %% exercise="disaggregation.Handover"

# %% [markdown]
# See it work. A and B are on their way, and C has asked:

# %%
source, target = Pool(8), Pool(8)
taken = target.allocate(3)  # somebody else's
mine = Handover(source, target)
here = {name: source.allocate(count) for name, count in (("A", 2), ("B", 2), ("C", 3))}
pairs = {name: mine.reserve(name, blocks) for name, blocks in here.items()}
there = {name: [block for _, block in pairs[name]] for name in ("A", "B")}
print(f"A {pairs['A']}, B {pairs['B']}, C {pairs['C']}")
Drawing(draw_pools(source, target, here, there | {"X": taken}))

# %% [markdown]
# A and B hold blocks at both workers until their commits. C was told no, and stays at the source until somebody at the
# target has ended.
#
# What a clear *no* is good for: the source is then the queue. Its memory holds what the decode worker has no room for yet,
# and nothing is lost when a burst comes. DistServe calls this *pulling* (section 4.3): the receiver fetches when it can.
#
# ## Build it 4: an answer by two workers
#
# Who computes what? After the prefill, the cache holds the prompt, and nothing of the answer. The first token was sampled
# and sent to its reader, and its own keys and values do not exist yet: the first decode step computes them.
#
# ```text
#    position      0    1    2     3       4       5
#    token         The  cat  sat   on      the     mat
#                  └─ prompt ─┘   first   second  third
#    in the cache  yes  yes  yes   no: the decode worker computes it first, at position 3
# ```

# %% exercise="disaggregation.serve_split"

# %% [markdown]
# ## On the real model, in two memories
#
# Two workers with a memory each, in one process for now, so that we can look at both. Your `Handover` and your
# `serve_split` bring an answer from one to the other. The workers' blocks are numbered differently on purpose.

# %% tags=["nbval-ignore-output"]
torch.set_num_threads(1)
model = load_model("tiny", dtype="float64")  # so exact that nothing can turn a near tie
prompt = model.encode("A list holds values in order. " * 12)[:90]
here, there = Worker(model, first=3), Worker(model, first=11)
copied = []
move = move_between(here, there, Handover(here.pool, there.pool), copied)
answer = serve_split(prompt, 24, here, there, move)
[alone] = LocalEngine(model).generate([prompt], 24, ignore_end=True)
assert answer == alone.tokens, "not the tokens that one worker writes"
print(f"24 tokens, as on one worker. Computed: {here.num_computed} here, {sum(there.num_computed)} there")

# %% [markdown]
# The prompt was computed here, and 23 single tokens there. In between, this moved, block by block:

# %% tags=["nbval-ignore-output"]
for source, target, num_bytes, seconds in copied:
    gbit_s = 8e-9 * num_bytes / seconds
    print(f"block {source} → {target}: {num_bytes:,} bytes in {1e6 * seconds:.0f} µs, {gbit_s:.0f} Gbit/s")
assert here.pool.num_free == 61
assert there.pool.num_free == 53

# %% [markdown]
# Nothing is held any more on either side. (Eight bytes a number here; the tiny model usually takes four.)
#
# ## Build it 5: hide it
#
# Layer 1 is done long before layer 40. Its keys and values can go while the others are computed. What is left when the
# prefill ends?
#
# ```text
#    prefill    │ layer 1 │ layer 2 │ layer 3 │ layer 4 │
#    fast link            ├ 1 ┤     ├ 2 ┤     ├ 3 ┤     ├ 4 ┤
#    slow link            ├───── 1 ─────┼───── 2 ─────┼───── 3 ─────┼───── 4 ─────┤
#                                                       └── what is not hidden ──┘
# ```

# %% exercise="disaggregation.exposed_s"

# %% [markdown]
# The 512 tokens of OPT-13B again, whose prefill takes 75 ms:

# %%
prefill_s = explorer.prefill_s(explorer.OPT, 512)
for name, link in explorer.LINKS.items():
    whole = transfer_s(512, 40, 40, 128, gbit_s=8e-9 * link.bandwidth_bytes_s)
    left = exposed_s(whole, prefill_s, 40, link.latency_s)
    print(f"{name:<22} in one piece {1e3 * whole:>7.1f} ms, layer by layer {1e3 * left:>7.1f} ms")

# %% [markdown]
# Above the break-even of 45 Gbit/s the move disappears. Below it, as much is hidden as fits into the prefill, and the rest
# is not: on a very slow link that changes nothing. [Splitwise](https://arxiv.org/abs/2311.18677) sends like this, and
# measured that 5 to 8 ms remain whatever the length: each layer has to be announced, too. For short prompts it sends
# everything in one piece.
#
# ## Explore
#
# Twenty-four requests, served together (prompts in chunks) and apart. Your `transfer_s` and `exposed_s` say how long a
# move takes. On top, TTFT and TPOT of each request. In the middle, what the first and the second token were waited for,
# in the mean. At the bottom, who works when.

# %%
explorer.explorer(transfer_s, exposed_s)

# %% [markdown]
# Six things to try:
#
# 1. Go through the links. Above which one is splitting good for TPOT? Where is the toll, in the first or in the second
#    token?
# 2. *First token comes from*: change it on a slow link. What happens to TTFT, and what to TPOT?
# 3. *Send layer by layer* at 25 Gbit/s and at 100 Gbit/s.
# 4. Llama-3.1-8B at 25 Gbit/s, layer by layer. Compare with OPT-13B.
# 5. Set the rate to 12. Who waits, and for what?
# 6. One A100. Is there any setting in which splitting wins?
#
# <details><summary>What you should have seen</summary>
#
# 1. From 25 Gbit/s on downwards splitting makes TPOT worse, and all of the toll is in the second token: 300 ms after
#    the first. With 100 Gbit/s and more TPOT is a little better than together.
# 2. The toll changes sides. TTFT gets three to four times as long, and TPOT is as good as on NVLink. Neither is wrong; a
#    reader waits either way. Compare systems only if you know which one they do.
# 3. At 100 Gbit/s nothing of the toll is left but a millisecond. At 25 Gbit/s half of each move remains.
# 4. The same link suffices: TPOT is as on NVLink. Four times fewer heads, and a prefill half as long.
# 5. Prompts, in front of the one worker that computes them; and moves, in front of the link.
# 6. None for TTFT and TPOT. Two workers on one card get half of it each while both compute. Only the slowest gaps get
#    shorter: a step takes twice as long instead of three times.
# </details>

# %% [markdown]
# ## In two processes
#
# Now for real. A worker is a process of its own: one core, the model, a memory. Your kernel decides who does what, with the
# control plane that you know, and passes numbers on. The engine's handover is
# [`transfer.py`](../course/serving/transfer.py): your three methods, and what happens if a worker dies.
#
# First **together**, so that there is something to compare with. Anna and Ben of lesson 00 read along, and four letters of
# about 1,100 tokens arrive. Pauses and TPOT are those of Anna and Ben. Starting takes a few seconds.

# %% tags=["nbval-ignore-output"]
import os
import signal

from course.engine.disaggregated import DisaggregatedEngine

shared = DisaggregatedEngine(
    "tiny", ("mixed", "mixed"), schedulers={"mixed": "prefill-first"}, make_cluster=WatchedCluster
)
print(*shared.workers, sep="\n")

# %% tags=["nbval-ignore-output"]
live.warm_up(shared)  # the first time is always slow
answers = live.burst(shared)
prompts_first = shared.recorder.records
print("together, prompts first:   ", live.say(prompts_first))

shared.set_schedulers({"mixed": "chunked-prefill"})
assert live.burst(shared) == answers
in_chunks = shared.recorder.records
print("together, prompts in chunks:", live.say(in_chunks))

# %% [markdown]
# With prompts first, a letter stops whoever reads on that worker. In chunks the longest pause is shorter, and there are
# many of them.
#
# **Predict:** now apart. How long is the longest pause? What is the slowest letter's TTFT? And are the tokens the same?

# %% tags=["nbval-ignore-output"]
split = DisaggregatedEngine("tiny", ("prefill", "decode"), make_cluster=WatchedCluster)
live.warm_up(split)
assert live.burst(split) == answers
apart = split.recorder.records
print("apart:                     ", live.say(apart))

# %% tags=["nbval-ignore-output"]
streams = {"prompts first": prompts_first[0], "in chunks": in_chunks[0], "apart": apart[0]}
pause_s = max(np.diff(prompts_first[0].token_times_s))
assert max(np.diff(apart[0].token_times_s)) < 0.5 * pause_s, "Anna's stall is still there: did something else run?"
token_gaps(
    {name: record.token_times_s for name, record in streams.items()},
    limit_s=pause_s / 2,
    title="Anna's answer, three times",
)

# %% [markdown]
# All six answers have the same tokens all three times, and Anna's stall is cured. Not by magic: her tokens come from a
# worker that never sees a prompt. Look who worked when.

# %% tags=["nbval-ignore-output"]
timeline(apart, split.cluster.history, "Two real workers, apart")

# %% [markdown]
# The letters stand in line at one worker, where two had read them before: that is the price, in TTFT.
#
# ## What moved
#
# The engine keeps a record of each move. Here are those of the burst.

# %% tags=["nbval-ignore-output"]
moves = list(split.transfers.records)[-6:]
for move in moves:
    print(live.say_move(move))
prefill_s = max(apart[2].token_times_s[0] - apart[2].arrival_s, 1e-9)
letter = next(move for move in moves if move.request_id == apart[2].request_id)
print(f"a letter's move: {(letter.end_s - letter.start_s) / prefill_s:.1%} of its prefill")
assert letter.num_bytes == letter.num_blocks * 16 * 6144  # bytes per token of the tiny model, as in the table above

# %% [markdown]
# Through the memory of one machine, a move is nearly free. To watch one, we need a slower link. The engine can pretend:
# here it lets through 10 MB per second, a fifth of the tiny model's break-even.

# %% tags=["nbval-ignore-output"]
split.set_link(bandwidth_gb_s=0.01)
live.start_over(split)
split.generate(model.encode(live.LETTER)[:160], 2, ignore_end=True)
move = split.transfers.records[-1]
for time_s, num_blocks in move.arrived:
    print(f"{1e3 * (time_s - move.start_s):>6.1f} ms: {num_blocks:>2} of {move.num_blocks} blocks are there")
expected_s = transfer_s(160, 6, 4, 32, gbit_s=0.08, element_bytes=4)
print(f"your transfer_s says {1e3 * expected_s:.1f} ms")
took_s = move.end_s - move.start_s
assert 0.99 * expected_s < took_s < expected_s + 2, f"the move took {took_s:.2f} s"
split.set_link()  # as fast as it really is

# %% [markdown]
# The difference is one message: a moment later, the engine hears that the last block is there. (An engine
# that is made with `DisaggregatedEngine(…, layerwise=True)` sends layers while others are computed. Try it.)

# %% [markdown]
# ## Kill a worker
#
# Two can break where one could before. Somebody reads; in the middle, we kill the process that writes for her: no goodbye,
# no clean-up, as when a machine loses power. Her keys and values are gone. **Predict** what she sees.

# %% tags=["nbval-ignore-output"]
live.start_over(split)
[whole] = LocalEngine("tiny").generate("A dictionary maps", 60, ignore_end=True)
[reader] = split.submit("A dictionary maps", 60, ignore_end=True)
while len(reader.tokens) < 25:
    split.advance()
victim = split.workers[1]
os.kill(victim.pid, signal.SIGKILL)
print(f"killed {victim} after {len(reader.tokens)} tokens")

# %% tags=["nbval-ignore-output"]
while split.num_unfinished:
    split.advance()
assert reader.tokens == whole.tokens, "not the tokens that one worker writes"
[record] = split.recorder.records
lost = split.statistics
print(f"{len(reader.tokens)} tokens, all as without the accident; {lost.num_recomputed_tokens} computed again")
print(f"longest pause {1e3 * max(np.diff(record.token_times_s)):.0f} ms")
for event in lost.events:
    print("  ", event.what)

# %% [markdown]
# A pause, and no token lost or repeated. The control plane knows the prompt and all tokens so far; only keys and values were
# lost, and these can be computed again: a prefill of prompt *and* answer, on the prefill worker, a handover, and on it goes
# on a new decode worker. The same is true of every state of a move, and that is what the commit is for: at each moment one
# worker, and only one, has the copy that counts.
#
# ## Where splitting loses
#
# Eight letters, and to each a yes or a no. Nobody reads along, so there is nobody to protect.

# %% tags=["nbval-ignore-output"]
shared.set_schedulers({"mixed": "prefill-first"})  # whole prompts: the quickest for both
for name, engine in (("together", shared), ("apart", split)):
    took_s, shares = live.letters(engine)
    each = " and ".join(f"{share:.0%}" for share in shares)
    print(f"{name:>8}: {took_s:.1f} s; the workers computed {each} of the prompts")
assert shares == [1.0, 0.0], "apart, the first worker computes every prompt"

# %% [markdown]
# Apart, one worker computes all letters and the other looks on. The other way round, with short prompts and long answers, it
# is the prefill worker that has nothing to do. Splitting adds no capacity; it decides what the capacity is for.
#
# That was the last run. Closing an engine ends its processes. They also end with your kernel, whatever happens to it.

# %%
shared.close()
split.close()

# %% [markdown]
# ## What got worse
#
# - **Prompts wait longer.** One worker reads what two read before. TTFT pays, as soon as prompts come close together.
# - **Someone may have nothing to do.** Together, each worker takes what comes. Apart, there must be as many prefill
#   workers as the prompts need and as many decode workers as the answers need, and people change what they ask for.
# - **Memory is split, too.** The prefill worker's is nearly empty most of the time, and only the decode worker's holds
#   answers.
# - **A toll for each request:** small with a good link, and there is always somebody who pays it.
# - **Two things can break** where one could before.
#
# On one GPU (`devices="cuda:0"`) you see the mechanism and all of this, and hardly the benefit: two workers there share the
# same arithmetic, the same bandwidth, and hold the weights twice. DistServe's authors say themselves that with one or a few GPUs
# it is simpler not to split ([section 7](https://arxiv.org/abs/2401.09670)). With two (`devices=("cuda:0", "cuda:1")`) it is
# what you have seen here.
#
# ## Without an expensive interconnect
#
# Suppose all you have is 25 Gbit/s. OPT-13B's break-even is 45. Is splitting out of the question?
#
# **Predict** which of these helps most: sending layer by layer, not moving short prompts, or 8 bits for each number of
# the cache.

# %%
slow = explorer.Settings(link=explorer.GBIT_25, rate=8)
layers = slow._replace(layerwise=True)
mine = {"transfer_s": transfer_s, "exposed_s": exposed_s}
print("together:                  ", remedies.serve_together(slow))
print("apart, in one piece:       ", remedies.serve(slow, **mine))
print("  layer by layer:          ", remedies.serve(layers, **mine))
print("  and up to 128 stay:      ", remedies.serve(layers, limit=128, **mine))
print("  and a cache of 8 bits:   ", remedies.serve(layers, limit=128, transfer_s=remedies.in_8_bits(transfer_s)))

# %% [markdown]
# 120 requests, many short and some long, 8 a second. In one piece, splitting is a disaster. Layer by layer it is about
# as good as together. With short prompts left where their answers are written it is better than together, in all three
# numbers, on a network that every cloud has. To let short prompts stay is called **conditional disaggregation**: a prompt
# that would hardly disturb anybody need not move. (`DisaggregatedEngine(short_prompts_stay=128)` does it for real.)
#
# And then the model itself. What does a token leave behind?

# %%
sizes = {
    name: load_shape(name).kv_bytes_per_token for name in ("opt-13b", "llama-2-7b", "llama-3.1-70b", "llama-3.1-8b")
}
sizes["llama-3.1-8b, 8 bits"] = sizes["llama-3.1-8b"] // 2
sizes["DeepSeek-V3 (MLA)"] = 61 * (512 + 64) * 2  # one vector for keys and values of all heads, and 64 numbers for RoPE
for name, num_bytes in sizes.items():
    print(f"{name:<22}{num_bytes:>9,} bytes per token")

# %% [markdown]
# DeepSeek-V3 has 671 billion parameters, and a token of it leaves half of what one leaves in Llama-3.1-8B. (Its
# [configuration](https://huggingface.co/deepseek-ai/DeepSeek-V3/blob/main/config.json) has the 61 layers, and the 512 and 64
# numbers.) Keys and values have become small, so the question of the expensive interconnect is often answered before it
# is asked. In this order:
#
# 1. **Compute the break-even** of your model on your GPU. GQA or MLA: 25 to 100 Gbit/s may do.
# 2. **Send layer by layer.** It needs no hardware.
# 3. **Move less:** let short prompts stay, and prompts whose beginning the decode worker has cached (lesson 06). Store the
#    cache in 8 bits.
# 4. **Put both workers into one machine**, where NVLink or PCIe joins them. DistServe's second algorithm does that.
# 5. Otherwise stay together, with chunks. For OPT-13B on 10 Gbit/s nothing else is left.
#
# ## Where published systems stand
#
# | what | number | source |
# |:--|:--|:--|
# | bandwidth that 10 requests/s of 512 tokens need, OPT-66B | 90 Gbit/s | [DistServe](https://arxiv.org/abs/2401.09670), section 3.3 |
# | KV transfer, share of the whole latency, OPT-175B, moves kept inside nodes | below 0.1%; 95% of the moves within 30 ms | section 6.3 |
# | request rate that keeps both SLOs, chatbot: DistServe against vLLM; against DeepSpeed-MII, which cuts prompts into chunks | 2.0 to 4.6 times; 1.6 to 7.4 times | section 6.2 |
# | second token later by, layer by layer; in one piece | 16.5%; 64% | [Splitwise](https://arxiv.org/abs/2311.18677), section 6.1 |
# | what layer-wise sending leaves over | 8 ms (A100, 200 Gbit/s), 5 ms (H100, 400 Gbit/s) | section 6.1 |
# | throughput | "Disaggregated prefill DOES NOT improve throughput" | [vLLM's documentation](https://github.com/vllm-project/vllm/blob/main/docs/features/disagg_prefill.md) |
# | conditional, by prompt length and queue | until version 0.8 | [NVIDIA Dynamo](https://docs.nvidia.com/dynamo/) |
#
# A caution about the third row. Part of that factor is not disaggregation: DistServe's own kernels are faster than those of
# the vLLM of that time (its authors [agree](https://github.com/LLMServe/DistServe/issues/18)). Compare on equal kernels, as
# every run in this lesson does.
#
# Today vLLM, SGLang, and NVIDIA Dynamo can all split. Their commands differ; the four steps do not. Who streams the first token does:
# vLLM's example proxies ask the prefill server for one token, throw it away, and stream what the decode server writes, so
# there the toll is in TTFT.
#
# To measure such a pair yourself, on GPUs: [the guide](../docs/serving.md) starts vLLM and SGLang apart, and `python -m
# course load` measures them with the client that measures this course's server.
#
# ## Take away
#
# 1. **Reserve, copy, commit, free.** The receiver may say no, the source is the queue, and nothing is freed before the
#    copy counts. Then no token is lost, not even if a worker dies.
# 2. **Bandwidth against compute.** A move is free if the link carries what the prefill leaves behind: bytes per token over
#    seconds per token. Layer by layer it then disappears.
# 3. **Splitting moves the waiting** from those who read to those who begin. It adds no capacity. Whether that is a gain is a
#    question of your SLOs.

# %%
scorecard("disaggregation")
