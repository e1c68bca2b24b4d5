from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.server.process import Served, running

SERVE = ("-m", "course", "serve", "--port", "0")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`python -m course serve`, with the tiny model."""
    with running(*SERVE, "--num-blocks", "512", log=tmp_path_factory.mktemp("serve") / "log") as server:
        yield server
