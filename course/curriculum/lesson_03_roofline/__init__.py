"""Lesson 03: why prefill is limited by arithmetic and decode by memory."""
