"""Lesson 06: what was computed once is found again."""
