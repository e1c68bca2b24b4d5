"""Not in a student's copy."""

from __future__ import annotations

import numpy as np
from lab9_cache.exercises import append

from course.exercises import Cases, call


@append.check(hidden=True, hint="Nothing is too many.")
def grows_without_limit(rng: np.random.Generator) -> Cases:
    cache = [float(n) for n in rng.random(20)]
    yield call(cache, 0.5).changes(0, to=[*cache, 0.5])
