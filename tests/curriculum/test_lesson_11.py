"""Lesson 11: its exercises are sound, its workers really move keys and values, its prose says what its runs show."""

from __future__ import annotations

import re
from statistics import mean, median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.curriculum.lesson_11_disaggregation import exercises, explorer, remedies
from course.curriculum.lesson_11_disaggregation.link import OneLink
from course.curriculum.lesson_11_disaggregation.memories import Copied, Worker, move_between
from course.curriculum.lesson_11_disaggregation.rules import HandoverLog, handover_fault, split_fault
from course.engine.local import LocalEngine
from course.exercises import load, prove
from course.exercises.judge import judge
from course.figures.together_apart import Served, mean_toll
from course.metrics.latency import gaps_s, tpot_s, ttft_s
from course.model.loading import load_model
from course.simulator.links import load_link
from course.simulator.network import Fabric, Network
from course.simulator.shapes import load_shape
from course.simulator.virtual import VirtualDriver

EXERCISES = load("disaggregation")
Settings = explorer.Settings


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_exercises_are_sound(exercise) -> None:
    prove(exercise, seeds=2)


# the handover


@st.composite
def stories(draw) -> tuple[int, int, list[tuple[str, str, str]]]:
    """Prompts that come, move, break off and end, in any order that an engine could see."""
    num_source, num_target = draw(st.integers(4, 9)), draw(st.integers(1, 9))
    state: dict[str, str] = {}
    sizes: dict[str, int] = {}
    story: list[tuple[str, str, str]] = []
    for _ in range(draw(st.integers(1, 24))):
        free_here = num_source - sum(sizes[name] for name, now in state.items() if now in ("here", "moving", "copied"))
        free_there = num_target - sum(
            sizes[name] for name, now in state.items() if now in ("moving", "copied", "there")
        )
        choices = [("prefill", chr(65 + len(sizes)))] if free_here and len(sizes) < 20 else []
        steps = {"here": ["reserve"], "moving": ["copy", "give up"], "copied": ["commit", "give up"], "there": ["end"]}
        choices += [(what, name) for name, now in state.items() for what in steps.get(now, [])]
        if not choices:
            break
        what, name = draw(st.sampled_from(choices))
        text = ""
        if what == "prefill":
            sizes[name] = draw(st.integers(1, free_here))
            text = name.lower() * (2 * sizes[name])
        fits = sizes[name] <= free_there
        after = {"prefill": "here", "reserve": "moving" if fits else "here", "copy": "copied", "commit": "there"}
        state[name] = after.get(what, "here" if what == "give up" else "gone")
        story.append((what, name, text))
    return num_source, num_target, story


@given(told=stories())
@settings(max_examples=60, deadline=None)
def test_the_reference_keeps_the_rules_in_any_story(told) -> None:
    num_source, num_target, story = told
    got = exercises.in_two_pools(exercises.handover.reference, num_source, num_target, exercises.as_text(story))
    assert len(got["log"]) == len(told[2])
    assert handover_fault(HandoverLog.of(got)).sentence == ""
    texts = {name: text for what, name, text in told[2] if what == "prefill"}
    log = HandoverLog.of(got)
    for event in log.events:
        if event.what == "commit":  # and what is there is what was written
            assert "".join(event.letters[1][block] for block in event.answer) == texts[event.name]


def test_what_was_freed_too_early_is_drawn_in_red() -> None:
    handover = next(exercise for exercise in EXERCISES if exercise.name == "Handover")
    early = next(one for one in handover.mistakes if one.name == "frees at the source before the commit")
    verdict = judge(handover, early.text, seed=0)
    assert "block 0 of the source is free" in verdict.message
    assert str(verdict.picture).count('stroke="#E23B3B"') == 1
    assert ">free<" in str(verdict.picture)


@given(prompt=st.lists(st.integers(10, 99), min_size=1, max_size=6), count=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_the_split_answer_is_right_for_any_prompt(prompt: list[int], count: int) -> None:
    assert split_fault(exercises.with_two_workers(exercises.split.reference, prompt, count)) == ""


# two memories


def test_two_memories_write_what_one_engine_writes() -> None:
    model = load_model("tiny", dtype="float64")
    text = model.encode("A list holds values in order. " * 12)
    here, there = Worker(model, first=3), Worker(model, first=11)
    copied: list[Copied] = []
    move = move_between(here, there, exercises.handover(here.pool, there.pool), copied)
    engine = LocalEngine(model)
    for length, count in ((1, 5), (16, 4), (33, 20), (20, 1)):
        prompt = text[:length]
        [alone] = engine.generate([prompt], count, ignore_end=True)
        assert exercises.split(prompt, count, here, there, move) == alone.tokens
    assert (here.pool.num_free, there.pool.num_free) == (61, 53)
    assert len(copied) == 1 + 1 + 3
    shape = load_shape("tiny")
    assert {block.num_bytes for block in copied} == {16 * shape.kv_bytes_per_token * 2}  # float64
    assert all(block.source != block.target for block in copied)


# costs


def test_moves_cost_what_the_simulators_links_say() -> None:
    for machine, link in (("opt-13b", "25gbit"), ("llama-3.1-8b", "nvlink-a100"), ("tiny", "pcie-4")):
        shape, it = load_shape(machine), load_link(link)
        size = (512, shape.num_layers, shape.num_kv_heads, shape.head_dim)
        mine = exercises.transfer_s(*size, 8e-9 * it.bandwidth_bytes_s, it.latency_s, 16, shape.bytes_per_value)
        assert mine == pytest.approx(it.transfer_s(512 * shape.kv_bytes_per_token))


def test_at_the_break_even_all_layers_but_one_are_hidden() -> None:
    for num_bytes, prefill_s, layers in ((419_430_400, 0.075, 40), (3_145_728, 0.071, 6)):
        gbit_s = exercises.break_even_gbit_s(num_bytes, prefill_s)
        sending_s = 8e-9 * num_bytes / gbit_s
        assert exercises.exposed_s(sending_s, prefill_s, layers) == pytest.approx(sending_s / layers)


def test_one_move_at_a_time() -> None:
    link = OneLink(lambda tokens, prefill_s: tokens / 10 + 0.5, latency_s=0.5)
    link.start(7, 0, 1, 10, now_s=0.0)
    link.start(8, 0, 1, 20, now_s=0.25)
    assert link.next_event_s() == 1.5
    assert [number for number, _ in link.finish(1.5)] == [7]
    assert link.waits_s == [0.0, 0.75]
    assert link.next_event_s() == 3.5
    assert link.cancel(8, 2.0)
    assert link.next_event_s() == float("inf")


def test_moves_that_do_not_meet_take_as_long_as_in_the_simulators_network() -> None:
    """One request at a time: there both must agree to the nanosecond."""
    setting = Settings(rate=1, link=explorer.GBIT_25, prompt_tokens=64)
    mine = explorer.apart(setting)
    shape = load_shape("opt-13b")
    records = (
        VirtualDriver(
            explorer.split_cluster(setting.machine),
            explorer.cost_of(setting.machine),
            network=Network(Fabric(load_link("25gbit"))),
            kv_bytes_per_token=shape.kv_bytes_per_token,
        )
        .run(explorer.workload(1, 64))
        .records
    )
    for one, other in zip(mine.records, records, strict=True):
        assert list(one.token_times_s) == pytest.approx(list(other.token_times_s), abs=1e-9)


# the explorer


def medians(run: Served) -> tuple[float, float]:
    """TTFT and TPOT in ms."""
    ttft, tpot = ([1e3 * (f(record) or 0.0) for record in run.records] for f in (ttft_s, tpot_s))
    return median(ttft), median(tpot)


def both(**moved) -> tuple[Served, Served]:
    """Together and apart, at the defaults but for what was moved."""
    runs = explorer.runs(Settings(**moved))
    return runs[explorer.TOGETHER], runs[explorer.APART]


def test_tolls_add_up_to_what_was_waited_for() -> None:
    for setting in (Settings(), Settings(first_by=explorer.BY_DECODE), Settings(machine=explorer.ONE_CARD)):
        for run in explorer.runs(setting).values():
            for record, first, second in zip(run.records, run.first, run.second, strict=True):
                assert sum(first) == pytest.approx(record.token_times_s[0] - record.arrival_s)
                assert sum(second) == pytest.approx(record.token_times_s[1] - record.token_times_s[0])
                assert min(*first, *second) >= -1e-12


def test_every_control_moves_ttft_or_tpot() -> None:
    before = [medians(run) for run in both()]
    moved = {
        "machine": explorer.LLAMA,
        "link": explorer.NVLINK,
        "prompt_tokens": 1024,
        "rate": 8,
        "layerwise": True,
        "first_by": explorer.BY_DECODE,
    }
    assert set(moved) == {control.name for control in explorer.CONTROLS}
    for name, value in moved.items():
        assert [medians(run) for run in both(**{name: value})] != before, name


def test_the_explorer_moves_as_fast_as_it_is_told() -> None:
    default = explorer.explorer().draw()[1]
    at_once = explorer.explorer(lambda *args: 0.0, lambda *args: 0.0).draw()[1]
    assert default.split(" apart: ")[0] == at_once.split(" apart: ")[0]
    assert re.search(r"transfer 0.01\d ms", at_once)  # the latency of the link is left


def test_the_answers_to_the_things_to_try() -> None:
    # 1: the toll is in the second token, and from 25 Gbit/s on downwards TPOT is worse than together
    together, slow = both()
    _, fast = both(link="100 Gbit/s")
    assert medians(slow)[1] > medians(together)[1] > medians(fast)[1]
    assert medians(slow)[0] == medians(fast)[0]
    toll = mean_toll(slow.second)
    assert 0.28 < toll.waiting + toll.transfer < 0.32
    # 2: who streams it
    _, by_decode = both(first_by=explorer.BY_DECODE)
    _, nvlink = both(link=explorer.NVLINK)
    assert 3 < medians(by_decode)[0] / medians(slow)[0] < 4
    assert medians(by_decode)[1] == pytest.approx(medians(nvlink)[1], rel=0.02)
    # 3: layer by layer
    hidden = {
        link: mean_toll(both(link=link, layerwise=True)[1].second).transfer for link in ("100 Gbit/s", "25 Gbit/s")
    }
    assert hidden["100 Gbit/s"] < 1.5e-3
    assert hidden["25 Gbit/s"] == pytest.approx(0.5 * toll.transfer, rel=0.1)
    # 4: grouped queries
    slow_gqa, fast_gqa = (
        both(machine=explorer.LLAMA, layerwise=True, link=link)[1] for link in (explorer.GBIT_25, explorer.NVLINK)
    )
    assert medians(slow_gqa)[1] == pytest.approx(medians(fast_gqa)[1], rel=0.01)
    # 5: prompts wait for their worker, and moves for the link
    _, busy = both(rate=12)
    assert mean_toll(busy.first).waiting > 2 * mean_toll(busy.first).prefill
    assert mean_toll(busy.second).waiting > 2 * mean_toll(busy.second).transfer
    # 6: one card
    for rate in (1, 4, 12):
        for prompt_tokens in (64, 256, 1024):
            together, apart = both(machine=explorer.ONE_CARD, rate=rate, prompt_tokens=prompt_tokens)
            assert medians(apart)[0] > medians(together)[0]
            assert medians(apart)[1] > 0.99 * medians(together)[1]
    together, apart = both(machine=explorer.ONE_CARD, rate=4, prompt_tokens=256)
    assert np.percentile(explorer.gaps_ms(apart), 99) < np.percentile(explorer.gaps_ms(together), 99)


def test_what_the_beginning_says() -> None:
    together = explorer.together(explorer.OPT, 4, 1024)
    apart = explorer.apart(Settings(link=explorer.NVLINK, rate=4, prompt_tokens=1024))
    gaps, gaps_apart = explorer.gaps_ms(together), explorer.gaps_ms(apart)
    assert round(median(gaps)) == 28
    assert np.mean(gaps > 50) == pytest.approx(0.14, abs=0.005)
    assert np.percentile(gaps, 99) > 2 * np.percentile(gaps_apart, 99)
    assert median(gaps_apart) > median(gaps)
    assert mean(ttft_s(r) or 0.0 for r in apart.records) > mean(ttft_s(r) or 0.0 for r in together.records)


def test_a_card_that_two_workers_share_does_no_more_than_one_card() -> None:
    """A prompt that begins while answers are written takes twice as long as alone."""
    setting = Settings(machine=explorer.ONE_CARD, rate=12, prompt_tokens=256)
    run = explorer.apart(setting)
    steps = sorted(run.history.steps, key=lambda step: step.start_s)
    overlaps = sum(
        max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))
        for one in steps
        for other in steps
        if one.instance_id < other.instance_id
    )
    assert overlaps > 1  # seconds in which both compute
    prefills = [step for step in steps if step.instance_id == 0 and len(step.chunks) == 1]
    beside = [
        step for step in prefills if any(o.instance_id == 1 and o.start_s < step.start_s < o.end_s for o in steps)
    ]
    for step in beside:
        tokens = step.chunks[0].num_tokens
        assert step.end_s - step.start_s == pytest.approx(2 * explorer.prefill_s(explorer.ONE_CARD, tokens))
    assert len(beside) > 3


def test_break_evens_that_the_text_names() -> None:
    def gbit_s(machine: str) -> float:
        shape = load_shape(explorer.MACHINES[machine].model)
        return exercises.break_even_gbit_s(512 * shape.kv_bytes_per_token, explorer.prefill_s(machine, 512))

    assert round(gbit_s(explorer.OPT)) == 45
    assert round(gbit_s(explorer.LLAMA)) == 15
    assert gbit_s(explorer.CPUS) < 1
    assert round(1e3 * explorer.prefill_s(explorer.OPT, 512)) == 75
    assert round(1e3 * explorer.prefill_s(explorer.LLAMA, 512)) == 36


# a slow link


def test_what_to_do_with_25_gbit() -> None:
    slow = Settings(link=explorer.GBIT_25, rate=8)
    layers = slow._replace(layerwise=True)

    def figures(run: remedies.Run) -> tuple[float, float, float]:
        ttft, tpot = (median(f(record) or 0.0 for record in run.records) for f in (ttft_s, tpot_s))
        return ttft, tpot, float(np.percentile([gap for record in run.records for gap in gaps_s(record)], 99))

    together, whole = figures(remedies.serve_together(slow)), figures(remedies.serve(slow))
    by_layer, short_stay = figures(remedies.serve(layers)), figures(remedies.serve(layers, limit=128))
    assert whole[2] > 5 * together[2]
    assert by_layer[1:] == pytest.approx(together[1:], rel=0.06)
    assert all(one < other for one, other in zip(short_stay, together, strict=True))
    in_8_bits = figures(remedies.serve(layers, limit=128, transfer_s=remedies.in_8_bits()))
    assert in_8_bits[2] < short_stay[2]


# in two processes


def test_apart_no_reader_shares_a_step_with_a_prompt_and_every_token_is_as_alone() -> None:
    from course.curriculum.lesson_11_disaggregation import live
    from course.engine.disaggregated import DisaggregatedEngine
    from course.figures import WatchedCluster
    from course.model.recipe import Recipe

    exact = Recipe("tiny", dtype="float64")
    local = LocalEngine(load_model("tiny", dtype="float64"))
    with DisaggregatedEngine(exact, ("prefill", "decode"), make_cluster=WatchedCluster) as split:
        assert live.burst(split) == live.burst(local)
        assert isinstance(split.cluster, WatchedCluster)
        history = split.cluster.history
        assert {chunk.is_prefill for step in history.steps if step.instance_id == 1 for chunk in step.chunks} == {False}
        assert len(history.moves) == 6
        moves = list(split.transfers.records)
        assert [move.num_blocks for move in moves[2:]] == [72] * 4
        assert "72 blocks, 14.16 MB" in live.say_move(moves[-1])
        assert "longest pause" in live.say(split.recorder.records)
        assert live.letters(split)[1] == [1.0, 0.0]
        split.cluster.check_integrity()


def test_wherever_the_writer_is_killed_the_reader_gets_the_same_tokens() -> None:
    """Computed again in one piece, in single precision: the next token is the same after each of the sixty."""
    engine = LocalEngine("tiny")
    prompt = load_model("tiny").encode("A dictionary maps")
    [whole] = engine.generate([prompt], 60, ignore_end=True)
    again = engine.generate([prompt + whole.tokens[:done] for done in range(1, 60)], 1, ignore_end=True)
    assert [answer.tokens[0] for answer in again] == whole.tokens[1:]


def test_no_token_of_the_burst_is_near_a_tie() -> None:
    """So it may run in single precision, whoever shares a step with whom: noise of 1e-4 changes nothing."""
    import torch

    from course.curriculum.lesson_11_disaggregation import live
    from course.engine.sampling import GREEDY, Draw, choose
    from course.model.packing import Chunk, pack

    model = load_model("tiny", dtype="float64")
    network = model.network
    answers = live.burst(LocalEngine(model))
    prompts = [model.encode(prompt) for prompt in (*live.READERS, *live.LONG_PROMPTS)]
    generator = torch.Generator().manual_seed(0)
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        cache, text = network.new_cache(96, 16), prompt + answer
        logits = []
        for end in range(len(prompt), len(text)):
            start = 0 if end == len(prompt) else end - 1
            batch = pack([Chunk(text[start:end], start, list(range(96)))], 16, cache.num_kv_heads)
            logits.append(network.forward(batch, cache)[0])
        exact = torch.stack(logits)
        sampling = live.SAMPLING if number < len(live.READERS) else GREEDY
        draws = [Draw(row, sampling, number, 0, len(prompt) + row, frozenset()) for row in range(len(answer))]
        for _ in range(5):
            noise = torch.randn(exact.shape, generator=generator, dtype=exact.dtype)
            assert choose(exact + 1e-4 * noise, draws) == answer
