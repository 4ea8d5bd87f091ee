"""Where the tests find what the repository does not carry, and how hypothesis behaves in them."""

import gc
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import settings

from cli.kernels import kept_library
from engine.config import ModelConfig

ROOT = Path(__file__).resolve().parent.parent

NAMES_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"

# A test that fails only on some days is no test: the examples are drawn from the test's own source.
settings.register_profile("gradflock", derandomize=True, deadline=None)
settings.load_profile("gradflock")

# As in a worker: eager's graphs have no cycles, and to walk them takes longer than to make them.
gc.set_threshold(1_000_000)


@pytest.fixture(scope="session")
def canonical_names() -> Path:
    """The canonical names list: beside the repository, or where `gradflock train` has put it."""
    for path in (ROOT.parent / "shared" / "data" / "names.txt", _cache_dir() / "names.txt"):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == NAMES_SHA256:
            return path
    pytest.skip(
        "the canonical names list is neither beside the repository nor in the cache directory;"
        " `gradflock train` with a network downloads it"
    )


@pytest.fixture(scope="session")
def golden() -> Path:
    """The recorded results: tests/golden, whose README says where each file comes from."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def kernels(pytestconfig: pytest.Config) -> None:
    """Compiled kernels, for this process and, as an image brings them, for those it starts.

    They are kept between sessions: to compile them takes longer than most tests. The first session
    takes those of `gradflock compile`, if set-up has run it.
    """
    assert pytestconfig.cache is not None
    directory = pytestconfig.cache.mkdir("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADFLOCK_KERNELS", str(_cache_dir() / "kernels"))
        patch.setenv("GRADFLOCK_CACHE_DIR", str(directory))
        kept_library(ModelConfig(vocab_size=27), print)
    os.environ["GRADFLOCK_KERNELS"] = str(directory / "kernels")


@pytest.fixture(autouse=True)
def _kernels_where_they_are_needed(request: pytest.FixtureRequest) -> None:
    """Unit tests do without."""
    if request.node.get_closest_marker("unit") is None:
        request.getfixturevalue("kernels")


def _cache_dir() -> Path:
    own = os.environ.get("GRADFLOCK_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradflock"
