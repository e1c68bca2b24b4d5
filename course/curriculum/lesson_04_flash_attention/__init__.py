"""Lesson 04: attention without the big matrix."""
