from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    if not (DATA / "traces").is_dir():
        pytest.skip(f"no real traces at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def trace_dir(data_dir: Path) -> Path:
    return data_dir / "traces"
