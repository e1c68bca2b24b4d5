"""Each way to be right or wrong, in a real child process."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from course.exercises import Cases, call, define, expect, find, new
from course.exercises.judge import judge
from course.exercises.verdict import Verdict
from course.exercises.warm import Warm

RIGHT = "return 2 * layers * kv_heads * head_dim * tokens * bytes_per_value"
Cell = Callable[..., str]


def judge_kv(text: str, **more: object) -> Verdict:
    return judge(find("bytes_and_blocks.kv_bytes"), text, **more)


def test_right_answer_passes_with_all_points(kv_cell: Cell) -> None:
    verdict = judge_kv(kv_cell(RIGHT))
    assert (verdict.passed, verdict.points, verdict.nudge) == (True, 2, "")
    assert verdict.message == "Passed: 2 checks on random inputs."


def test_stub_is_not_attempted() -> None:
    exercise = find("bytes_and_blocks.kv_bytes")
    assert judge(exercise, exercise.stub_cell).message == "Not attempted yet."
    half_done = exercise.stub_cell.replace("raise", "layers += 1\n    raise")
    verdict = judge(exercise, half_done)
    assert verdict.status == "not attempted"
    assert "(line 8)" in verdict.message


def test_planted_mistake_gets_its_nudge_others_the_hint(kv_cell: Cell) -> None:
    verdict = judge_kv(kv_cell("return layers * kv_heads * (head_dim * tokens) * bytes_per_value"))
    assert (verdict.mistake, verdict.nudge) == ("forgets V", "Each token leaves a key and a value.")
    verdict = judge_kv(kv_cell("return 17"))
    assert verdict.nudge == "What does one token leave behind in one layer? Multiply from there."
    assert (verdict.got, int(verdict.expected) > 0, verdict.check) == ("17", True, "counts_every_value")
    assert verdict.call.startswith("kv_bytes(layers=")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("pass", "returns None: is a `return` missing?"),
        ("return 1.5", "returns the float 1.5; an int is expected"),
        ("return [1]", "returns a list, [1]; an int is expected"),
        ("x = 1\nreturn x / 0", "raises ZeroDivisionError: division by zero, line 4: `return x / 0`"),
        ("return helper(1)", "`helper` is not defined, line 3"),
        ("return deque([1])", "`deque` is not imported in this cell: add its import at the top (`from collections"),
        ("return torch.tensor(1)", "add its import at the top (`import torch`)"),
        ("import torch\nreturn 1", "`torch` is not among the modules that this exercise may use, line 3"),
        ("import nonsense", "No module named 'nonsense', line 3"),
        ("return 3 +", "Python cannot read the cell: invalid syntax, line 3: `return 3 +`"),
        ("%time x = 1", "`%time x = 1` (line 3) is notebook magic"),
        ("import sys; sys.exit(0)", "ends Python (`exit`), line 3"),
        ("raise SystemExit", "ends Python (`exit`)"),
        ("raise KeyboardInterrupt", "raises KeyboardInterrupt"),
        ("import os; os._exit(0)", "ended its Python process without an answer"),
        ("import os; os.abort()", "ended its Python process without an answer"),
        ("return kv_bytes(1, 1, 1, 1)", "calls itself without end, line 3"),
        ("return bytearray(10**10)", "asked for more than 512 MB of memory, line 3"),
        ("return b'x' * (65 << 20)", "returns more data than an answer can hold"),
        ("return object()", "returns an object; an int is expected"),
    ],
)
def test_each_failure_has_its_sentence(kv_cell: Cell, body: str, words: str) -> None:
    verdict = judge_kv(kv_cell(body))
    assert verdict.status == "failed"
    assert words in verdict.message
    assert judge_kv(kv_cell(RIGHT)).passed, "the judge must live on"


def test_endless_loop_ends_in_time_and_is_located(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("course.exercises.hearing.GRACE_S", 2.0)
    exercise = find("bytes_and_blocks.count_down")
    began = time.monotonic()
    verdict = judge(exercise, "def count_down(start):\n    while True:\n        start += 1\n")
    assert time.monotonic() - began < 6
    assert "did not finish in 0.5 s, line" in verdict.message
    assert verdict.nudge == "Something must come nearer to zero in each round."
    stubborn = (
        "def count_down(start):\n  while True:\n    try:\n      while True: pass\n    except BaseException: pass\n"
    )
    verdict = judge(exercise, stubborn)
    assert "did not finish in 0.5 s" in verdict.message
    asleep = judge(exercise, "import time\ndef count_down(start):\n    time.sleep(99)\n")
    assert "line 3: `time.sleep(99)`" in asleep.message
    assert judge(exercise, exercise.solution_cell).passed


def test_loop_at_the_top_of_the_cell(kv_cell: Cell) -> None:
    exercise = find("bytes_and_blocks.count_down")
    verdict = judge(exercise, "while True: pass\ndef count_down(start): return start\n")
    assert verdict.message.startswith("The cell did not finish in 0.5 s, line 1")


def test_helper_in_another_cell(kv_cell: Cell) -> None:
    known = {"helper": "defined", "F": "imported"}
    assert (
        "`helper` is defined in another cell; move it into this one"
        in judge_kv(kv_cell("return helper(1)"), elsewhere=known.get).message
    )
    assert "`F` is not imported in this cell" in judge_kv(kv_cell("return F(1)"), elsewhere=known.get).message
    helper = "def helper(n):\n    return 2 * n\n\n"
    assert judge_kv(kv_cell(RIGHT.replace("2 * layers", "helper(layers)"), before=helper)).passed


def test_below_the_definition_only_definitions_count(kv_cell: Cell) -> None:
    tried = "\nhelper = lambda n: 2 * n\nprint(kv_bytes(config.layers, 1, 1, 1))\nx = config\nassert False\n"
    assert judge_kv(kv_cell(RIGHT.replace("2 * layers", "helper(layers)")) + tried).passed


def test_future_annotations_and_dataclasses_work(kv_cell: Cell) -> None:
    before = "from __future__ import annotations\n\n@dataclass\nclass Shape:\n    n: Unknown = 2\n\n"
    assert judge_kv(kv_cell(RIGHT.replace("2 *", "Shape().n *"), before=before)).passed


def test_wrong_name_or_kind_of_definition() -> None:
    assert judge_kv("def kv_byte(): pass\n").message == "The cell defines no function `kv_bytes`."
    assert judge_kv("class kv_bytes: pass\n").message == "`kv_bytes` should be a function; here it is a class."
    assert "here it is of type int" in judge_kv("kv_bytes = 3\n").message


def test_a_list_that_is_handed_back_is_no_new_one() -> None:
    @define("lab9.Twin", points=1)
    class Twin:
        def of(self, table):
            return list(table)

    @Twin.check(hint="Two tables.")
    def two_tables(rng):
        yield new().call("of", [1, 2]).gives_a_new_list().returns([1, 2])

    cell = "class Twin:\n    def of(self, table):\n        return table"
    assert judge(Twin, cell + "[:]\n").passed
    assert "returns the very list that it got as argument number 1" in judge(Twin, cell + "\n").message


def test_what_the_learner_raises_is_not_taken_for_an_accident() -> None:
    exercise = find("lab9.total")
    verdict = judge(exercise, "def total(cache):\n    raise MemoryError('full')\n")
    assert "raises MemoryError: full" in verdict.message


def test_a_mistake_is_known_whatever_the_learner_says_when_it_raises() -> None:
    exercise = find("paged_kv.BlockAllocator")
    [mistake] = [one for one in exercise.mistakes if one.name == "keeps the last block back"]
    other_words = re.sub(r"raise ValueError\(.*\)", 'raise ValueError("no room")', mistake.text)
    assert other_words != mistake.text
    assert judge(exercise, other_words).nudge == mistake.nudge


def test_changed_argument_is_named() -> None:
    exercise = find("lab9.total")
    verdict = judge(exercise, "def total(cache):\n    s = sum(cache)\n    cache.clear()\n    return s\n")
    assert "changes its argument `cache`, which belongs to the caller" in verdict.message
    verdict = judge(find("lab9.append"), "def append(cache, value):\n    cache = cache + [value]\n")
    assert "`cache` must be changed in place; afterwards it has" in verdict.message or "items" in verdict.message


def test_printing_is_allowed_shown_and_cut(kv_cell: Cell) -> None:
    verdict = judge_kv(kv_cell(f"print('x' * 100_000)\n{RIGHT}"))
    assert verdict.passed
    assert 100 < len(verdict.printed) <= 4000


def test_class_is_judged_by_events_and_shows_them() -> None:
    exercise = find("bytes_and_blocks.BlockPool")
    text = exercise.solution_cell.replace("self.free_ids[count:]", "self.free_ids[count - 1 :]")
    verdict = judge(exercise, text, seed=1)
    assert verdict.call.startswith("x = BlockPool(4)\n")
    assert verdict.message in (
        "A block in use was given away again.",
        "This must raise ValueError; it returns [2, 3].",
    )
    assert "x.allocate(" in verdict.call
    missing = judge(exercise, "class BlockPool:\n    def __init__(self, num_blocks): pass\n")
    assert "'BlockPool' object has no attribute 'allocate'" in missing.message
    refuses = judge(exercise, "class BlockPool:\n    pass\n")
    assert "`x = BlockPool(4)` raises TypeError" in refuses.message


def test_wrong_shape_and_values_of_tensors() -> None:
    pytest.importorskip("torch")
    exercise = find("bytes_and_blocks.softmax")
    assert "returns shape (4,) instead of (1, 4)" in judge(exercise, "def softmax(x): return x[0]").message
    assert "is wrong: entry [0, 0] is" in judge(exercise, "def softmax(x): return x").message


def test_nothing_survives_from_one_verdict_to_the_next(kv_cell: Cell) -> None:
    spoil = "import math, builtins\nmath.prod = lambda xs: 1\nbuiltins.abs = None\nnp.zeros = None\n"
    assert judge_kv(kv_cell(RIGHT, before=spoil)).passed
    untouched = kv_cell("assert abs(-1) == 1 and np.zeros(1).sum() == 0\nreturn math.prod([2, 3])")
    assert "gives 6" in judge_kv(untouched).message


def test_inputs_are_new_each_time_unless_seeded(kv_cell: Cell) -> None:
    wrong = kv_cell("return -1")
    assert judge_kv(wrong, seed=4).as_dict() == judge_kv(wrong, seed=4).as_dict()
    assert len({judge_kv(wrong, seed=seed).call for seed in (1, 2, 3)}) > 1
    assert judge_kv(wrong).seed != judge_kv(wrong).seed


@define("bytes_and_blocks.split")
def split(n: int) -> list[int]:
    """Two numbers that sum to n."""
    return [n // 2, n - n // 2]


@split.check(hint="the hint")
def sums_up(rng) -> Cases:
    parts = yield call(7)
    first, second = parts
    expect(first + second == 7, "The two must sum to n")


@define("bytes_and_blocks.same", seconds=0.2)
def same(n: int) -> int:
    """n."""
    return n


@same.check()
def slow_oracle(rng) -> Cases:
    yield call(1).returns(1)
    time.sleep(1.0)  # as an oracle that imports torch may take
    yield call(2).returns(2)


def test_only_the_learners_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("course.exercises.hearing.GRACE_S", 0.7)
    assert judge(same, same.solution_cell).passed


def test_check_that_goes_on_with_the_answer() -> None:
    assert judge(split, "def split(n): return [n, 0]").passed
    broken = judge(split, "def split(n): return [n, 1]")
    assert (broken.message, broken.nudge) == ("The two must sum to n.", "the hint")
    assert "cannot be used" in judge(split, "def split(n): return 5").message


@pytest.fixture
def own_child() -> Iterator[Warm]:
    """One that a test may harm: the shared one has imported torch, and should live on."""
    warm = Warm()
    yield warm
    warm.stop()


def test_interrupt_leaves_a_usable_judge(kv_cell: Cell, own_child: Warm) -> None:
    loop = kv_cell("while True: pass")
    assert judge_kv(kv_cell(RIGHT), warm=own_child).passed
    timer = threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        judge_kv(loop, warm=own_child)
    timer.join()
    assert judge_kv(kv_cell(RIGHT), warm=own_child).passed


def test_dead_child_is_replaced(kv_cell: Cell, own_child: Warm) -> None:
    assert judge_kv(kv_cell(RIGHT), warm=own_child).passed
    assert own_child.process is not None
    own_child.process.kill()
    own_child.process.wait()
    assert judge_kv(kv_cell(RIGHT), warm=own_child).passed


def test_child_leaves_with_its_parent() -> None:
    warm = Warm()
    warm.start()
    child = warm.process
    assert child is not None
    assert warm.control is not None
    warm.control.close()
    child.wait(timeout=5)


def test_warm_verdict_is_quick(kv_cell: Cell) -> None:
    cell = kv_cell(RIGHT)
    judge_kv(cell)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        judge_kv(cell)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.3
