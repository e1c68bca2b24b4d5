"""Published results computed anew: what a paper says, what this simulator says, and whether the two agree.

Nothing is stored: every number of ours comes from a run. ``register`` says what an entry is, ``all`` lists them.
"""
