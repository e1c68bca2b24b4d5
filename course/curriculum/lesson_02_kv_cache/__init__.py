"""Lesson 02: why there are two phases, and what the cache costs."""
