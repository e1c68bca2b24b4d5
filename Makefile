# The commands of the README. `python -m course` does the work; without make, use that.
# Options go into ARGS: make lab ARGS="--port 9000"   make test ARGS="-k scheduler"

PYTHON ?= python3
COURSE = $(shell test -x .venv/bin/python && echo .venv/bin/python || echo $(PYTHON)) -m course

.PHONY: lab test doctor
lab test doctor:
	@$(COURSE) $@ $(ARGS)
