"""Lesson 01: what a transformer computes for each token."""
