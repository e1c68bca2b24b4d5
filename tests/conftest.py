"""What all tests share."""

from __future__ import annotations

import os

# Before anything is imported that reads them. One thread: two test workers share two cores.
# Figures are static, and no model or tokenizer is ever looked up on a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COURSE_WIDGETS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
