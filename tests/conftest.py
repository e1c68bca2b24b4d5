"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# Before anything is imported that reads them. One thread: two test workers share two cores.
# Figures are static, and no model or tokenizer is ever looked up on a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COURSE_WIDGETS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# How long an example takes says something about the neighbours on this machine, not about the code.
settings.register_profile("course", deadline=None)
settings.load_profile("course")
