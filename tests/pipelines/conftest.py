from __future__ import annotations

import pytest

from tests.helpers import tiny_dit_pipeline, tiny_latte_pipeline, tiny_pixart_pipeline
from tests.pipelines.folders import CLASS_NAMES, save_tiny


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Saved tiny pipelines by family."""
    root = tmp_path_factory.mktemp("pipelines")
    return {family: str(save_tiny(family, root / family)) for family in ("dit", "pixart", "flux", "latte")}


@pytest.fixture
def pixart():
    return tiny_pixart_pipeline()


@pytest.fixture
def latte():
    return tiny_latte_pipeline()


@pytest.fixture
def dit():
    pipe = tiny_dit_pipeline()
    pipe.labels = {name.strip(): int(i) for i, names in CLASS_NAMES.items() for name in names.split(",")}
    return pipe
