"""The content of the course: its table of contents and, lesson by lesson, what the notebooks are built from."""
