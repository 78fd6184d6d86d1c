"""Where the work is done changes nothing."""

import operator

import pytest

from lib.cluster import run_all

TASKS = [(i, 3) for i in range(7)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order_wherever_they_are_computed(jobs):
    assert run_all(operator.mul, TASKS, jobs, "multiplying") == [0, 3, 6, 9, 12, 15, 18]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_a_task_reaches_the_caller(jobs):
    with pytest.raises(ZeroDivisionError):
        run_all(operator.truediv, [(1, 1), (1, 0)], jobs, "dividing")
