"""Lesson 10: what a server will do, known before it is built."""
