"""Lesson 07: who joins the batch, and when."""
