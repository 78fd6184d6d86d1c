"""One way to do many tasks: in this process, in several, or on the workers of a Dask cluster.

`JOBS` says which: 1; a number of processes, -1 for every core; a scheduler's address,
"tcp://host:8786"; or "local:8", a cluster of so many workers on this machine. What a task makes
lies in the cache under the same key wherever it ran, so the tables are the same; networks trained
by another number of threads are the same but for the last bits, as sums are added up otherwise.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeVar

from joblib import Parallel, delayed
from tqdm.auto import tqdm

from lib.paths import ROOT, cache_dir, data_dir
from lib.store import fingerprint

T = TypeVar("T")
PATIENCE = 20  # seconds in which a scheduler must answer, and have a worker


def run_all(
    function: Callable[..., T], tasks: Iterable[tuple], jobs: int | str, desc: str, unit: str
) -> list[T]:
    """Return ``[function(*task) for task in tasks]``, in order, with a progress bar.

    `function` must be importable, to run in another process; for `jobs` see above. A task whose
    worker died is given to another one. OSError says why a cluster can't be used, in a sentence.
    `desc` and `unit` are for the bar.
    """
    tasks = list(tasks)
    bar = {"total": len(tasks), "desc": desc, "unit": unit}
    if isinstance(jobs, int):
        calls = (delayed(function)(*task) for task in tasks)
        return list(tqdm(Parallel(n_jobs=jobs, return_as="generator")(calls), **bar))
    from distributed import as_completed  # half a second, and few need it

    with ExitStack() as stack:
        client = _connect(jobs, stack)
        # pure=False: Dask would merge calls with equal arguments.
        futures = [client.submit(function, *task, pure=False) for task in tasks]
        # Each result is fetched as it comes: what a worker that dies has done is not done again.
        found = dict(tqdm(as_completed(futures, with_results=True), **bar))
        return [found[future] for future in futures]


def is_jobs(value: object) -> bool:
    """Say whether a value is one that `run_all` takes as `jobs`."""
    known = isinstance(value, str) and re.fullmatch(r"local:[1-9]\d*|\w+://\S+", value)
    return bool(known) or (type(value) is int and value != 0)


def _connect(jobs: str, stack: ExitStack) -> object:
    """Open a Dask client whose workers see what this process sees, or say what is wrong."""
    from distributed import Client, LocalCluster

    if jobs.startswith("local:"):
        size = {"n_workers": int(jobs.removeprefix("local:")), "threads_per_worker": 1}
        jobs = stack.enter_context(LocalCluster(**size, dashboard_address=None)).scheduler_address
    try:
        client = stack.enter_context(Client(jobs, timeout=PATIENCE))
    except (OSError, ValueError) as error:
        mend = "start one (`dask scheduler`), or give JOBS its address"
        raise OSError(f"no Dask scheduler answers at {jobs}; {mend} ({error})") from error
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        mend = f"start some: `dask worker {jobs} --nthreads 1`"
        raise OSError(f"the scheduler at {jobs} has no workers; {mend}") from error
    cache_dir().mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(prefix="seen-", dir=cache_dir()) as file:  # for all workers to find
        note = Path(file.name).name
        wanted, answers = _surroundings(note), client.run(_surroundings, note, on_error="return")
    for worker, seen in answers.items():
        if seen != wanted:
            other = () if isinstance(seen, Exception) else (k for k in seen if seen[k] != wanted[k])
            odd = f"not the same {' and '.join(other)}" if other else seen
            mend = "it needs this checkout, its .venv, DATA_DIR and CACHE_DIR, on a shared disk"
            raise OSError(f"the Dask worker {worker} can't take part: {odd}; {mend}")
    return client


def _surroundings(note: str) -> dict[str, object]:
    """Return what a worker must have in common with the process that sends it tasks."""
    code = fingerprint(path.read_bytes() for path in sorted((ROOT / "lib").rglob("*.py")))
    data = sorted(p.name for p in data_dir().iterdir()) if data_dir().is_dir() else []
    return {"code": code, "data sets": data, "cache": (cache_dir() / note).is_file()}
