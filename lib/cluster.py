"""Spread independent work over local processes or a cluster, or do it here: callers can't tell."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from joblib import Parallel, delayed
from tqdm.auto import tqdm

T = TypeVar("T")


def run_all(
    function: Callable[..., T], tasks: Iterable[tuple], jobs: int | str, desc: str
) -> list[T]:
    """Return ``[function(*task) for task in tasks]``, in order, with a progress bar.

    Parameters
    ----------
    function : callable
        Importable and without side effects, so that it may run in another process.
    tasks : iterable of tuple
        The arguments of each call.
    jobs : int or str
        Worker processes; 1 works in this process, -1 uses every core. Or the address of a Dask
        scheduler ("tcp://host:8786"), whose workers must see the same code and folders.
    desc : str
        What is being done, for the bar.

    Raises
    ------
    OSError
        If no scheduler answers at that address.
    """
    tasks = list(tasks)
    return list(tqdm(_results(function, tasks, jobs), total=len(tasks), desc=desc, unit="image"))


def _results(function: Callable[..., T], tasks: list[tuple], jobs: int | str) -> Iterator[T]:
    if isinstance(jobs, int):
        calls = (delayed(function)(*task) for task in tasks)
        yield from Parallel(n_jobs=jobs, return_as="generator")(calls)
        return
    from distributed import Client  # half a second, and few need it

    with Client(jobs) as client:
        # pure=False: Dask would merge calls with equal arguments.
        futures = [client.submit(function, *task, pure=False) for task in tasks]
        yield from (future.result() for future in futures)
