"""Lesson 05: its exercises are sound, the learner's allocator runs engine and explorer, and the prose is true."""

from __future__ import annotations

from typing import Any

import pytest

from course.exercises import load, prove

EXERCISES = load("paged_kv")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)


def test_a_leak_is_drawn_in_red() -> None:
    from course.exercises.judge import judge
    from course.figures.palette import WRONG

    allocator = next(exercise for exercise in EXERCISES if exercise.name == "BlockAllocator")
    [leak] = [mistake for mistake in allocator.mistakes if mistake.name == "leaks what was freed"]
    verdict = judge(allocator, f'@exercise("{allocator.id}")\n{leak.text}', seed=0)
    assert verdict.check == "freed_blocks_come_back"
    assert any(shape.line.color == WRONG for shape in verdict.picture.layout.shapes)


def counting(asked: list[int]) -> Any:
    """The reference, and a note of each call for blocks."""
    from course.curriculum.lesson_05_paged_kv.exercises import owner

    class Counting(owner.reference):
        def allocate(self, count: int) -> list[int]:
            asked.append(count)
            return super().allocate(count)

    return Counting


def test_the_explorer_takes_its_blocks_from_the_learners_allocator() -> None:
    from course.curriculum.lesson_05_paged_kv import explorer

    asked: list[int] = []
    settings = {"memory_gib": 3, "rate": 2, "answer_tokens": 64, "block_size": 16}
    own = explorer.ways(**settings, allocator=counting(asked))
    assert sum(asked) > explorer.NUM_REQUESTS
    assert own == explorer.ways(**settings)


def test_the_engine_takes_its_blocks_from_the_learners_allocator() -> None:
    from course.curriculum.lesson_05_paged_kv.served import serve_all, tiny, workload
    from course.engine.local import LocalEngine
    from course.serving.allocator import pool_of

    asked: list[int] = []
    work = workload(4, declared=100)
    engine = LocalEngine(tiny(), "prefill-first", num_blocks=12, make_pool=pool_of(counting(asked)))
    paged = serve_all(engine, work)
    assert paged.num_preemptions > 0
    assert sum(asked) >= sum(-(-len(answer) // 16) for answer in paged.answers.values())
    engine.instance.memory.check_integrity([], [])
    careful = serve_all(LocalEngine(tiny(), "orca", num_blocks=12), work)
    assert (max(careful.num_running), careful.answers) == (1, paged.answers)


def test_what_the_explorer_s_answers_say() -> None:
    from course.curriculum.lesson_05_paged_kv import explorer

    def ways(**moved: float) -> dict[str, Any]:
        return explorer.ways(**{"memory_gib": 12, "rate": 2, "answer_tokens": 256, "block_size": 16} | moved)

    usual = ways()
    oracle = usual["Oracle"]
    assert oracle.never == 0
    assert oracle.tokens < 0.5 < usual["paged"].tokens
    assert usual["Max"].ttft_s > usual["Pow2"].ttft_s > oracle.ttft_s > 10 * usual["paged"].ttft_s
    assert usual["Max"].tpot_s < usual["paged"].tpot_s
    assert max(way.ttft_s for way in ways(memory_gib=48).values()) < 0.2
    short = ways(answer_tokens=32).values()
    assert max(way.ttft_s for way in short) < 0.1
    assert max(way.num_sequences for way in short) < 5
    large = ways(block_size=256)["paged"]
    assert large.never > 3 * usual["paged"].never
    assert large.ttft_s < 1.5 * usual["paged"].ttft_s
    assert ways(block_size=256, memory_gib=6)["paged"].ttft_s > 2 * ways(memory_gib=6)["paged"].ttft_s


def test_what_the_shares_beside_the_paper_s_say() -> None:
    """Within ten points of figure 2, the factors below the paper's, and nobody waits for paged memory."""
    from course.curriculum.lesson_05_paged_kv import explorer

    ways = explorer.ways(memory_gib=12, rate=2, answer_tokens=256, block_size=16)
    for name, share, factor in (("Max", 0.204, 4.3), ("Oracle", 0.382, 2.2)):
        assert ways[name].tokens == pytest.approx(share, abs=0.05)
        assert 1 < ways["paged"].num_sequences / ways[name].num_sequences < factor
    assert ways["paged"].ttft_s < 0.1
    assert ways["paged"].tokens + ways["paged"].never < 0.9
