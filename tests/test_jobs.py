"""Work in parallel: in order, the same wherever it runs, and whole when a worker dies."""

import operator
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from distributed import LocalCluster

from lib import data, jobs, metrics
from lib.jobs import is_jobs, run_all
from lib.maps import GaussianPrior
from lib.masking import masked_scores
from lib.paths import ROOT
from lib.sources import extract
from lib.store import Store
from tests.test_masking import SALIENCY, SCORER, Pictures

TASKS = [(i, 3) for i in range(7)]
BAR = ("multiplying", "task")


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def worker(address, **environment):
    """Start a worker process without a nanny that would start it again."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")} | environment
    command += ["--no-nanny", "--no-dashboard"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, cwd=ROOT)


@pytest.fixture
def workers(scheduler, empty_cache):
    both = [worker(scheduler) for _ in range(2)]
    yield scheduler
    for process in both:
        process.kill()
        process.wait()


@pytest.mark.parametrize("many", [1, 2, "local:2"])
def test_results_come_in_order_wherever_they_are_computed_and_errors_reach_the_caller(many):
    assert run_all(operator.mul, TASKS, many, *BAR) == [0, 3, 6, 9, 12, 15, 18]
    with pytest.raises(ZeroDivisionError):
        run_all(operator.truediv, [(1, 1), (1, 0)], many, *BAR)


def judge_or_die(index: int, folder: Path) -> list[float]:
    """Score the centre prior on one photograph; the first who is given number 3 is killed."""
    (folder / f"{index}-{uuid4().hex}").touch()
    if index == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    store = Store("judged-or-dead", 1)
    if (kept := store.get(str(index))) is None:
        (folder / f"{index} worked out {uuid4().hex}").touch()
        record = data.load("sample-saliency")[index]
        prior = GaussianPrior.fit([record.density]).render(record.image.shape[:2])
        kept = store.put(str(index), np.array([*metrics.score_map(prior, record).values()]))
    return kept.tolist()


def test_a_worker_is_killed_and_nothing_is_lost_or_done_twice(workers, tmp_path, monkeypatch):
    tasks = [(i, tmp_path) for i in range(8)]
    spread = run_all(judge_or_die, tasks, workers, *BAR)
    assert (tmp_path / "died").exists()
    for index in range(8):
        assert len([*tmp_path.glob(f"{index} worked out *")]) == 1
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "another"))
    assert run_all(judge_or_die, tasks, 1, *BAR) == spread  # to the last bit


def test_maps_and_masked_scores_of_workers_are_those_of_one_process(workers, monkeypatch, tmp_path):
    pictures, asked = Pictures(20), ([SALIENCY], ["black"], [0, 0.5, 1], 64)
    maps = [*extract(SALIENCY, pictures, jobs=workers)]
    spread = masked_scores(SCORER, pictures, *asked, workers)
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "another"))
    assert np.array_equal(maps, [*extract(SALIENCY, pictures)])
    pd.testing.assert_frame_equal(spread, masked_scores(SCORER, pictures, *asked))


def test_a_scheduler_that_is_not_there_or_has_no_workers_is_a_sentence(monkeypatch, scheduler):
    monkeypatch.setattr(jobs, "PATIENCE", 1)
    with pytest.raises(OSError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9; start one"):
        run_all(operator.mul, TASKS, "tcp://127.0.0.1:9", *BAR)
    with pytest.raises(OSError, match="has no workers; start some: `dask worker tcp://"):
        run_all(operator.mul, TASKS, scheduler, *BAR)


@pytest.mark.parametrize("variable", ["CACHE_DIR", "DATA_DIR"])
def test_a_worker_that_sees_other_folders_is_a_sentence(scheduler, variable, tmp_path, empty_cache):
    (tmp_path / "osie").mkdir()
    process = worker(scheduler, **{variable: str(tmp_path)})
    what = {"CACHE_DIR": "cache", "DATA_DIR": "data sets"}[variable]
    try:
        with pytest.raises(OSError, match=f"can't take part: not the same {what}; it needs this"):
            run_all(operator.mul, TASKS, scheduler, *BAR)
    finally:
        process.kill()
        process.wait()


def test_what_jobs_can_be():
    good, bad = [1, -1, "local:8", "tcp://a:1"], [0, True, 1.5, "local:0", "local", "8", None]
    assert all(map(is_jobs, good)) and not any(map(is_jobs, bad))


def test_the_queue_of_the_how_to_page_asks_for_what_it_says():
    pytest.importorskip("dask_jobqueue", reason="make setup BOOK=1")
    page = (ROOT / "book" / "howto" / "cluster.md").read_text(encoding="utf-8")
    made = re.search(r"```python\n(.*?)cluster\.scale", page, re.DOTALL)[1]
    exec(made, names := {})
    with names["cluster"] as cluster:
        script = cluster.job_script()
    for words in ("#SBATCH --gres=gpu:1", "#SBATCH -t 08:00:00", "export DATA_DIR=/shared/data"):
        assert words in script
    assert "/shared/saliency-iqa/.venv/bin/python -m distributed.cli.dask_worker tcp://" in script
    assert "--nthreads 1 " in script
