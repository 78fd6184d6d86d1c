"""Memoise long computations on disk, one item (image, epoch, encode) a file, written atomically.

A killed run loses at most the item in hand: a file either is complete or is not there. The key
of a store holds everything that decides the numbers: the version of the code that computes them
(an integer, raised by hand when numbers move; `tests/golden.py` notices), the parameters, and the
fingerprints of data and weights.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lib.paths import cache_dir


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place in one step.

    The temporary file is removed if `write` fails (full disk, interrupt), so `path` never holds
    half a file.
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


class Store:
    """A folder of arrays that share one computation and differ by item name.

    Parameters
    ----------
    kind : str
        What is stored ("cam", "features", ...); the first part of the folder's name.
    version : int
        Of the code that decides the values.
    **parameters
        Everything else that decides the values; must be JSON-serialisable.
    """

    def __init__(self, kind: str, version: int, **parameters: object):
        key = json.dumps({"version": version, **parameters}, sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.folder = cache_dir() / kind / digest
        self._key = key

    def path(self, name: str) -> Path:
        """Return the file that holds item `name`; any text makes a safe file name."""
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        stem = "".join(c if c.isalnum() else "_" for c in name)[:60]
        return self.folder / f"{stem}-{digest}.npy"

    def get(self, name: str) -> np.ndarray | None:
        """Return the stored array, or None where there is none (or it is damaged)."""
        try:
            return np.load(self.path(name), allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError, OSError):  # damaged from outside: compute it again
            self.path(name).unlink(missing_ok=True)
            return None

    def put(self, name: str, value: np.ndarray) -> np.ndarray:
        """Store `value` under `name` and return it."""
        note = self.folder / "key.json"
        if not note.exists():
            write_atomically(note, lambda path: path.write_text(self._key))

        def save(path: Path) -> None:
            with path.open("wb") as file:  # np.save on a name would append ".npy" to it
                np.save(file, value, allow_pickle=False)

        write_atomically(self.path(name), save)
        return value
