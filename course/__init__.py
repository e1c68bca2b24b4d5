"""How large language models are served: a course with a real engine and a simulator.

Importing this package is cheap (no torch); the rooms are described in docs/rooms.md.
"""

__version__ = "0.1.0"
