"""Lab 1: a decoder with a cache."""
