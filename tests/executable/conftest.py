"""Two tenants built once for the tests of the executable."""

from __future__ import annotations

import numpy as np
import pytest

import gacer_tvm

from .models import convolutional, dense


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A kernel store of this test run."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="session")
def modules():
    """Name to Relax module."""
    return {"vision": convolutional(1), "ranker": dense(2)}


@pytest.fixture(scope="session")
def inputs():
    """One set of inputs."""
    rng = np.random.default_rng(0)
    return {
        "vision": {"x": rng.standard_normal((4, 3, 12, 12)).astype("float32")},
        "ranker": {"data": rng.standard_normal((4, 24)).astype("float32")},
    }


@pytest.fixture(scope="session")
def built(modules, cache):
    """The two tenants in parallel."""
    with gacer_tvm.build(modules, schedule="parallel", cache=cache) as executable:
        yield executable
