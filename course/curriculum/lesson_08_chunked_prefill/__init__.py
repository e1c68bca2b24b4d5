"""Lesson 08: how a long prompt need not stall everyone else."""
