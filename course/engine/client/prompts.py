"""Prompts of a given length for a server: token ids where it takes them, else words."""

from __future__ import annotations

from course.workload.request import Request
from course.workload.seeds import generator

# Each is a token of its own, with the space before it, in the vocabularies of common models; in the tiny model's, too,
# but for a few. What a server makes of them it says in its usage, and that is what is counted.
_TEXT = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they "
    "which one you were all her she there would their we him been has when who will no more if out so up said "
    "what its about than into them can only other time new some could these two may first then do any like my "
    "now over such our man me even most made after also did many off before must well back through years where "
    "much your way down should because long each just state those people too"
)
WORDS = _TEXT.split()


def word_prompt(request: Request, seed: int) -> str:
    """A text of as many words as the request's prompt has tokens; another request, other words."""
    rng = generator(seed, f"words of request {request.id}")
    picks = rng.integers(len(WORDS), size=request.num_prompt_tokens)
    return " ".join(WORDS[pick] for pick in picks)
