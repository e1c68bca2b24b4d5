"""A process that has the model loaded and forks workers.

Importing torch and reading a model takes seconds, forking a process that has done so takes milliseconds: that makes
starting a worker again cheap, and workers on the CPU share the pages of the weights. It runs one thread and never
touches a GPU, so forking is safe whatever the process of the engine does (a notebook's runs many threads). Workers
are in no terminal's process group: whoever interrupts the engine does not interrupt them.

It ends when the engine's end of its pipe is closed, be it by close or by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

import torch

from course.engine.memory import keep_freed_memory
from course.engine.workers.process import Worker
from course.errors import UserError
from course.model.recipe import Recipe


def main(control: Connection) -> None:
    """Load the model, say so, then fork a worker for every pipe that comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    recipe: Recipe = control.recv()
    try:
        model = recipe.make() if control.recv() else None  # for workers on the CPU
    except UserError as error:
        control.send(str(error))
        control.close()
        return
    keep_freed_memory()
    control.send("")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system clears dead children away
    while True:
        try:
            control.recv()
            pipe = recv_handle(control)
        except (EOFError, OSError):
            return
        if pid := os.fork():
            os.close(pipe)
            control.send(pid)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(control.fileno())
        Worker(Connection(pipe), recipe, model).work()


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
    os._exit(0)  # nothing of torch's has to be cleared away
