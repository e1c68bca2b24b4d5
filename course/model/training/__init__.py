"""Train the course's own tiny language model from text that is already on this machine."""
