"""What runs on the learner's side of the pipe. Nothing in here knows a reference or a check."""
