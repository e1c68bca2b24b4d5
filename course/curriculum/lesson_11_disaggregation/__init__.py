"""Lesson 11: prefill and decode on separate workers."""
