"""Results on disk and work in parallel: what every long computation shares.

Memoised results are one file an item (image, epoch, encode), written atomically: a killed run
loses at most the item in hand. The key of a `Store` holds everything that decides the numbers: the
version of the code (an integer, raised by hand when numbers move; `tests/golden.py` notices), the
parameters, and the fingerprints of data and weights.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from lib.paths import cache_dir

T = TypeVar("T")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then move it into place: `path` never holds half a file.

    The temporary file is removed if `write` fails (full disk, interrupt).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)  # mkstemp makes it private
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fingerprint(parts: Iterable[object]) -> str:
    """Digest a series of values (their `str`) into 16 hex characters, order included."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode(errors="surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def weights_fingerprint(model: object) -> str:
    """Digest the weights of a torch module."""
    return fingerprint(v.detach().cpu().numpy().tobytes() for v in model.state_dict().values())


class Store:
    """A folder of arrays that share one computation and differ by item name.

    `kind` says what is stored ("maps", "proxies", ...), `version` is of the code that decides the
    values, the parameters are all else that does; they must be JSON-serialisable.
    """

    def __init__(self, kind: str, version: int, **parameters: object):
        self._key = json.dumps({"version": version, **parameters}, sort_keys=True)
        self.folder = cache_dir() / kind / fingerprint([self._key])

    def path(self, name: str) -> Path:
        """Return the file that holds item `name`; any text makes a safe file name."""
        stem = "".join(c if c.isalnum() else "_" for c in name)[:60]
        return self.folder / f"{stem}-{fingerprint([name])[:8]}.npy"

    def get(self, name: str, mmap_mode: str | None = None) -> np.ndarray | None:
        """Return the stored array, or None where there is none, or a damaged one: make it again."""
        try:
            return np.load(self.path(name), mmap_mode, allow_pickle=False)
        except (ValueError, EOFError, OSError):
            return None

    def put(self, name: str, value: np.ndarray) -> np.ndarray:
        """Store `value` under `name` and return it."""
        note = self.folder / "key.json"
        if not note.exists():
            write_atomically(note, lambda path: path.write_text(self._key))
        # The temporary file's name ends in ".npy": np.save would append it to any other.
        write_atomically(self.path(name), lambda path: np.save(path, value, allow_pickle=False))
        return value


@dataclass(frozen=True)
class Kept(Sequence[np.ndarray]):
    """Stored arrays, each read when it is asked for: thousands of maps don't fit into memory."""

    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.load(self.paths[index], allow_pickle=False)


def run_all(
    function: Callable[..., T], tasks: Iterable[tuple], jobs: int | str, desc: str, unit: str
) -> list[T]:
    """Return ``[function(*task) for task in tasks]``, in order, with a progress bar.

    `function` must be importable, to run in another process. `jobs` is the number of processes (1
    works in this one, -1 uses every core) or the address of a Dask scheduler ("tcp://host:8786"),
    whose workers must see the same code and folders. `desc` and `unit` are for the bar.
    """
    tasks = list(tasks)
    bar = {"total": len(tasks), "desc": desc, "unit": unit}
    if isinstance(jobs, int):
        calls = (delayed(function)(*task) for task in tasks)
        return list(tqdm(Parallel(n_jobs=jobs, return_as="generator")(calls), **bar))
    from distributed import Client  # half a second, and few need it

    with Client(jobs) as client:
        # pure=False: Dask would merge calls with equal arguments.
        futures = [client.submit(function, *task, pure=False) for task in tasks]
        return [future.result() for future in tqdm(futures, **bar)]
