"""Lesson 00: what a user of a language model feels, and how it is measured."""
