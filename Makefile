# The commands of the README. `python -m course` does the work; without make, use that.
# Options go into ARGS: make lab ARGS="--port 9000"

PYTHON ?= python3
COURSE = $(shell test -x .venv/bin/python && echo .venv/bin/python || echo $(PYTHON)) -m course

.PHONY: lab doctor
lab doctor:
	@$(COURSE) $@ $(ARGS)

# not in a release
.PHONY: test
test:  # all of them, or those that ARGS="-k scheduler" names
	@$(COURSE) $@ $(ARGS)
# end of what is not in a release
