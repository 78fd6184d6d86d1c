"""Where things are on disk, the same from papermill, JupyterLab, pytest and a shell.

A relative path in an environment variable counts from the repository root, not from the working
directory (which is ``notebooks/`` in JupyterLab and under papermill).
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEND = "restore it with `git checkout -- weights`; in the cache, delete it: it is made again"


def _folder(variable: str, default: str) -> Path:
    """Return the folder named by an environment variable, or `default` under the root."""
    # os.path's leaves ~nobody as it is, where pathlib's raises.
    return ROOT / os.path.expanduser(os.environ.get(variable) or default)  # noqa: PTH111


def data_dir() -> Path:
    """Return the folder of the data sets: ``DATA_DIR``, or ``data/``."""
    return _folder("DATA_DIR", "data")


def cache_dir() -> Path:
    """Return the folder of memoised results: ``CACHE_DIR``, or ``.cache/``."""
    return _folder("CACHE_DIR", ".cache")


def figures_dir(profile: str) -> Path:
    """Return one profile's folder of tables and figures in ``FIGURES_DIR``, or in ``figures/``."""
    return _folder("FIGURES_DIR", "figures") / profile


def weights_dir() -> Path:
    """Return the folder of the trained models that ship: ``WEIGHTS_DIR``, or ``weights/``."""
    return _folder("WEIGHTS_DIR", "weights")
