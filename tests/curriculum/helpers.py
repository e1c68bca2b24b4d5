"""Small lessons, written into a folder of their own."""

from __future__ import annotations

from pathlib import Path

from course.curriculum.contents import contents
from course.curriculum.sources import Source, choose, text_file

TEXT = """\
# %% [markdown]
# ## An idea
#
# In words.

# %%
x = 2
print(x + 1)

# %% exercise="start_here.double" id="double"

# %% tags=["nbval-ignore-output"]
import time
took_s = time.perf_counter()
assert took_s > 0
"""

STUB = '@exercise("start_here.double")\ndef double(x): ...'


def exercise_text(exercise_id: str) -> str:
    """Stands in for the exercises' own texts."""
    assert exercise_id == "start_here.double"
    return STUB


def lesson(text: str = TEXT, number: int = 0) -> Source:
    """A lesson with that text, neighbours unknown."""
    return Source(contents().lessons[number], text)


def course_with(folder: Path, texts: dict[int, str]) -> list[Source]:
    """The lessons of those numbers as files in ``folder``, read back."""
    for number, text in texts.items():
        file = text_file(contents().lessons[number], folder)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return choose([], folder)
