"""How large language models are served: a course with a real engine and a simulator.

Importing this package is cheap (no torch); the rooms are described in docs/rooms.md.
"""

import os

__version__ = "0.1.0"

if os.environ.get("COURSE_COMPILED") != "0" and os.path.isdir(os.path.join(os.path.dirname(__file__), ".compiled")):
    from course import compiled

    compiled.use()  # what `python -m course compile` has made
