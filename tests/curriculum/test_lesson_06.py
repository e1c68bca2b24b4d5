"""Lesson 06: its exercises are sound, the learner's cache runs engine and explorer, and the prose is true."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from course.curriculum.lesson_06_prefix_cache import exercises, explorer, real, replay
from course.exercises import load, prove
from course.exercises.judge import judge
from course.figures.palette import WRONG
from course.serving.pool import BlockPool
from course.serving.prefix_pool import prefix_pool_of
from course.serving.schedulers import LongestPrefixFirst, PrefillFirst
from course.workload.conversations import MOONCAKE, ideal_reuse

EXERCISES = load("prefix_cache")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)


def named(name: str):
    """One of the lesson's exercises."""
    return next(exercise for exercise in EXERCISES if exercise.name == name)


def test_the_beginning_that_was_evicted_is_red_and_the_end_is_pointed_at() -> None:
    cache = named("PrefixCache")
    [wrong] = [mistake for mistake in cache.mistakes if mistake.name == "the beginning goes first"]
    verdict = judge(cache, f'@exercise("{cache.id}")\n{wrong.text}', seed=0)
    assert verdict.check == "the_end_goes_before_the_beginning"
    assert WRONG in verdict.picture
    assert "this one" in verdict.picture
    assert "evicted: B&#x27;s end" not in verdict.picture


class Asked:
    """The reference cache, and how often it was asked."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        counts = self.counts

        class Counting(exercises.cache.reference):
            def add(self, block_hash: int, block: int) -> None:
                counts["add"] += 1
                super().add(block_hash, block)

            def evict(self) -> int:
                counts["evict"] += 1
                return super().evict()

        def search(*arguments):
            counts["search"] += 1
            return exercises.cached_prefix(*arguments)

        def names(*arguments):
            counts["names"] += 1
            return exercises.block_hashes(*arguments)

        def order(*arguments):
            counts["order"] += 1
            return exercises.queue_order(*arguments)

        self.cache, self.search, self.names, self.order = Counting, search, names, order


def test_the_engine_asks_the_learners_cache_search_and_names() -> None:
    asked = Asked()
    texts = [*real.prompts(100, 0)[:2], *real.prompts(100, 1)[:2]]
    plain = real.ask(real.fresh(None, 12), texts)
    cached = real.ask(real.fresh(prefix_pool_of(asked.cache, asked.search, asked.names), 12), texts)
    assert cached.tokens == plain.tokens
    assert cached.num_hit_tokens == 2 * 96
    assert asked.counts["names"] == len(texts)
    assert min(asked.counts[each] for each in ("add", "evict", "search")) > 0


def test_the_engine_asks_the_learners_order() -> None:
    asked = Asked()
    in_turn = [text for pair in zip(real.prompts(100, 0)[:2], real.prompts(100, 1)[:2], strict=True) for text in pair]
    pool = prefix_pool_of(asked.cache, asked.search, asked.names)
    by_prefix = LongestPrefixFirst.ordered_by(asked.order, max_num_sequences=1)
    arrival = real.ask_together(real.fresh(pool, 9, PrefillFirst(max_num_sequences=1)), in_turn)
    ordered = real.ask_together(real.fresh(pool, 9, by_prefix), in_turn)
    assert ordered.tokens == arrival.tokens
    assert ordered.num_hit_tokens > arrival.num_hit_tokens
    assert asked.counts["order"] > 0


def test_the_explorer_asks_the_learners_code_and_answers_the_same() -> None:
    asked = Asked()
    settings = {"memory": 4_000, "system_tokens": 768, "num_systems": 8, "rate": 8}
    own = explorer.servers(**settings, parts=explorer.Parts(asked.cache, asked.search, asked.order))
    assert own == explorer.servers(**settings)
    assert min(asked.counts[each] for each in ("add", "evict", "search", "order")) > 0


def test_what_the_explorer_s_answers_say() -> None:
    def servers(**moved: float):
        usual = {"memory": 8_000, "system_tokens": 768, "num_systems": 8, "rate": 8}
        return [explorer.servers(**usual | moved)[way] for way in explorer.WAYS]

    assert max(use.ttft_s for use in servers(system_tokens=0)) < 0.1
    for tokens in (768, 1_024):
        without, first_come, longest = servers(system_tokens=tokens)
        assert without.ttft_s > 2
        assert max(first_come.ttft_s, longest.ttft_s) < without.ttft_s / 3
    for memory in (16_000, 32_000, 64_000):
        _, first_come, longest = servers(memory=memory)
        assert first_come == longest
    without, first_come, longest = servers(memory=4_000)
    assert longest.hit_rate > first_come.hit_rate + 0.1
    assert longest.ttft_s < first_come.ttft_s
    assert without.tpot_s < min(servers(memory=memory)[0].tpot_s for memory in (8_000, 16_000, 32_000))
    without, first_come, _ = servers(memory=32_000)
    assert first_come.tpot_s < 0.8 * without.tpot_s
    assert servers(num_systems=1)[1].hit_rate == pytest.approx(0.89, abs=0.02)
    assert servers(num_systems=32)[1].hit_rate < 0.5


def test_who_shares_nothing_waits_until_patience_ends() -> None:
    impatient, patient = (explorer.odd_one_out(exercises.queue_order, patience_s) for patience_s in (3.0, math.inf))
    first_come = explorer.odd_one_out(lambda waiting, now_s, patience_s: list(range(len(waiting))))
    assert patient[0] > 2 * patient[1]
    assert patient[0] > 4 * first_come[0]
    assert 3 < impatient[0] < 4


def test_a_replay_finds_what_the_pool_itself_finds() -> None:
    rows = MOONCAKE.rows(150, 3.2, block_tokens=512)
    own = replay.hit_rate(rows, 800, exercises.cache.reference, exercises.cached_prefix)
    pool, hits, seen = BlockPool(800, 1, True), 0, 0
    for row in rows:
        seen += len(row.prefix_hashes)
        table = pool.match(row.prefix_hashes)
        hits += len(table)
        pool.share(table)
        table += pool.allocate(len(row.prefix_hashes) - len(table))
        for block, name in zip(table, row.prefix_hashes, strict=True):
            pool.publish(block, name)
        pool.release(table)
    assert own == hits / seen
    assert 0 < own < ideal_reuse(rows)
    assert replay.hit_rate(rows, 10**5, exercises.cache.reference, exercises.cached_prefix) == ideal_reuse(rows)
