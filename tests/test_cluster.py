"""Where the work is done changes nothing."""

import operator

import dask
import pytest
from distributed import LocalCluster

from lib.store import run_all

TASKS = [(i, 3) for i in range(7)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order_wherever_they_are_computed(jobs):
    assert run_all(operator.mul, TASKS, jobs, "multiplying") == [0, 3, 6, 9, 12, 15, 18]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_a_task_reaches_the_caller(jobs):
    with pytest.raises(ZeroDivisionError):
        run_all(operator.truediv, [(1, 1), (1, 0)], jobs, "dividing")


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def test_a_dask_cluster_is_as_good(scheduler):
    assert run_all(operator.mul, TASKS, scheduler, "multiplying") == [0, 3, 6, 9, 12, 15, 18]
    with pytest.raises(ZeroDivisionError):
        run_all(operator.truediv, [(1, 1), (1, 0)], scheduler, "dividing")


def test_no_scheduler_is_an_error():
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(OSError):
        run_all(operator.mul, TASKS, "tcp://127.0.0.1:9", "multiplying")
