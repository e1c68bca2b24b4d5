# draft: the prose and the exercises are still to come
# ruff: noqa: D100
# mypy: ignore-errors

# %% [markdown]
# ## A number that hurts
#
# Two workers serve a language model, twenty people ask it something within a second. One of them reads along as the
# answer is written. How long is the longest pause between two of the words?

# %%
from course.curriculum.lesson_00_start_here import explorer
from course.figures import token_gaps, token_gaps_summary
from course.metrics.latency import gaps_s

records, history = explorer.serve(rate=20, prompt_tokens=256, policy=explorer.SHARED)
unlucky = max(records, key=lambda record: max(gaps_s(record)))
print(token_gaps_summary(unlucky.token_times_s, limit_s=0.010))

# %%
token_gaps(unlucky.token_times_s, limit_s=0.010, title=f"Request {unlucky.request_id}: its answer, token by token")

# %% [markdown]
# ## Three ways to use two workers
#
# Move the rate and the length of the prompts; then change who does what.

# %%
explorer.explorer()
