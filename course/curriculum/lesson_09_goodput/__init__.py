"""Lesson 09: when a server is good enough, and how many requests it can take."""
