"""The decorator in a real kernel, and outside of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]

CELLS = {
    "start": 'from course.exercises import *\nstart("bytes_and_blocks")\nimport numpy as np',
    "stub": "{kv}    raise NotImplementedError\nprint(kv_bytes(1, 1, 1, 1, 4))",
    "helper": "def twice(n):\n    return 2 * n",
    "elsewhere": "{kv}    return twice(layers)\n",
    "exit": "{kv}    import os\n    os._exit(0)\n",
    "mistake": "{kv}    print('hello <b>')\n    return layers * kv_heads * head_dim * tokens * bytes_per_value\n",
    "right": "{kv}    return 2 * layers * kv_heads * head_dim * tokens * bytes_per_value\nkv_bytes.mine = True",
    "magic": "%%time\n{kv}    return 2 * layers * kv_heads * head_dim * tokens * bytes_per_value\n",
    "mine": "print(kv_bytes(1, 1, 1, 1, 4), kv_bytes.__module__)",
    "class": '@exercise("bytes_and_blocks.BlockPool")\nclass BlockPool:\n    pass',
    "reference": "print(BlockPool(3).allocate(2))",
    "lab": '@exercise("lab9.append")\ndef append(cache, value):\n    cache.append(value)',
    "locked": 'check_cell("lab9.append")',
    "open": 'check_cell("lab9.total")',
    "ready": 'if ready("lab9"):\n    print("joined")',
    "solution": 'print(solution("bytes_and_blocks.kv_bytes")(1, 1, 1, 1))\nsolution("bytes_and_blocks.drain")',
    "score": "scorecard()",
    "alive": "print('alive')",
}
KV = '@exercise("bytes_and_blocks.kv_bytes")\ndef kv_bytes(layers, kv_heads, head_dim, tokens, bytes_per_value=2):\n'


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """All that each cell shows, as text: plain, HTML and errors together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_LESSONS", str(Path(__file__).parent / "samples"))
        patch.setenv("COURSE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("COURSE_SOLUTIONS", raising=False)
        patch.setenv("PYTHONPATH", str(ROOT))
        notebook = new_notebook(cells=[new_code_cell(text.replace("{kv}", KV)) for text in CELLS.values()])
        NotebookClient(notebook, timeout=60, allow_errors=True, kernel_name="python3").execute(cwd=str(ROOT))
        yield {name: shown(cell) for name, cell in zip(CELLS, notebook.cells, strict=True)}


def shown(cell: nbformat.NotebookNode) -> str:
    parts = []
    for output in cell.outputs:
        parts += [output.get("text", ""), "\n".join(output.get("traceback", []))]
        parts += [output.get("data", {}).get(kind, "") for kind in ("text/plain", "text/html")]
    return "\n".join(parts)


def test_stub_leaves_the_lesson_to_the_reference(outputs: dict[str, str]) -> None:
    assert "○ bytes_and_blocks.kv_bytes: Not attempted yet" in outputs["stub"]
    assert "goes on with the reference's `kv_bytes` for now" in outputs["stub"]
    assert "\n8\n" in outputs["stub"] or outputs["stub"].startswith("8\n")


def test_helper_of_another_cell_is_named(outputs: dict[str, str]) -> None:
    assert "`twice` is defined in another cell; move it into this one" in outputs["elsewhere"]
    assert "<code" in outputs["elsewhere"]


def test_kernel_lives_on_after_os_exit(outputs: dict[str, str]) -> None:
    assert "ended its Python process without an answer" in outputs["exit"]
    assert "alive" in outputs["alive"]


def test_feedback_shows_call_expected_came_printed_and_nudge(outputs: dict[str, str]) -> None:
    html = outputs["mistake"]
    for words in (
        "Not yet",
        "expected",
        "came",
        "hello &lt;b&gt;",
        "Each token leaves a key and a value.",
        "kv_bytes(",
    ):
        assert words in html
    assert "<script" not in html
    assert "<b>" not in html.split("<div")[-1]


def test_right_answer_is_used(outputs: dict[str, str]) -> None:
    assert "✓ bytes_and_blocks.kv_bytes: Passed: 2 checks on random inputs." in outputs["right"]
    assert "goes on with your `kv_bytes`" in outputs["right"]
    assert "8 __main__" in outputs["mine"]


def test_cell_magic_is_no_obstacle(outputs: dict[str, str]) -> None:
    assert "Passed" in outputs["magic"]


def test_class_of_the_reference_is_a_class(outputs: dict[str, str]) -> None:
    assert "Not yet" in outputs["class"]
    assert "[0, 1]" in outputs["reference"]


def test_lab_goes_on_with_the_learners_and_its_check_cell_is_strict(outputs: dict[str, str]) -> None:
    assert "reference" not in outputs["lab"]
    assert "✓ lab9.append" in outputs["locked"]
    assert "NotPassedError: lab9.total is not handed in" in outputs["open"]


def test_what_joins_a_lab_waits_for_all_of_it(outputs: dict[str, str]) -> None:
    assert outputs["ready"].strip() == "Not ready: lab9.total, lab9.append_all do not pass yet."


def test_solution_says_whose(outputs: dict[str, str]) -> None:
    assert "kv_bytes: yours" in outputs["solution"]
    assert "drain: the reference" in outputs["solution"]


def test_scorecard_counts(outputs: dict[str, str]) -> None:
    assert "✓ bytes_and_blocks.kv_bytes" in outputs["score"]
    assert "2/2" in outputs["score"]
    assert "✗ bytes_and_blocks.BlockPool" in outputs["score"]
    assert "○ bytes_and_blocks.drain" in outputs["score"]
    assert "✓ lab9.append" in outputs["score"]


def test_outside_of_a_notebook_the_objects_own_text_counts(capsys: pytest.CaptureFixture[str]) -> None:
    from course.exercises import exercise

    @exercise("bytes_and_blocks.drain")
    def drain(queue):
        while queue:
            yield queue.popleft()

    assert "✓ bytes_and_blocks.drain: Passed: 1 check" in capsys.readouterr().out
    assert drain.__module__ == __name__
