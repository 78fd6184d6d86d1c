"""Fixtures that every test may use."""

import os

# As in the Makefile, before anything loads OpenMP: threads that wait busily keep the other worker
# and the kernels of its notebooks from the core they wait on.
os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}

import matplotlib
import pytest

from lib.paths import data_dir

matplotlib.use("Agg")


def pytest_collection_modifyitems(items):
    # Else one worker ends with the long ones, alone.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def real_data():
    """Give the folder of a real data set, or skip the test where ``DATA_DIR`` lacks it."""

    def folder_of(name):
        folder = data_dir() / name
        if not any(folder.glob("*")):  # a failed download may leave an empty one
            pytest.skip(f"{name} is not in {data_dir()}; set DATA_DIR or run: make data")
        return folder

    return folder_of


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Give the path that a file of published weights has; DATA_DIR is a folder of the test's."""

    def path_of(file):
        path = tmp_path / "data" / "checkpoints" / file.rpartition(".")[0] / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return path_of


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Memoise into an empty folder that this test has to itself."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CACHE_DIR", str(folder))
    return folder
