"""Spread independent work over local processes, or do it here one by one: the caller can't tell."""

from collections.abc import Callable, Iterable, Sized
from typing import TypeVar

from joblib import Parallel, delayed
from tqdm.auto import tqdm

T = TypeVar("T")


def run_all(function: Callable[..., T], tasks: Iterable[tuple], jobs: int, desc: str) -> list[T]:
    """Return ``[function(*task) for task in tasks]``, in order, with a progress bar.

    Parameters
    ----------
    function : callable
        Importable and without side effects, so that it may run in another process.
    tasks : iterable of tuple
        The arguments of each call.
    jobs : int
        Worker processes; 1 works in this process, -1 uses every core.
    desc : str
        What is being done, for the bar.
    """
    total = len(tasks) if isinstance(tasks, Sized) else None
    calls = (delayed(function)(*task) for task in tasks)
    results = Parallel(n_jobs=jobs, return_as="generator")(calls)
    return list(tqdm(results, total=total, desc=desc, unit="image"))
