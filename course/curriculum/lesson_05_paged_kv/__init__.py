"""Lesson 05: how one memory holds many growing sequences."""
