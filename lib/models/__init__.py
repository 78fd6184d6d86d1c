"""The project's models by name."""

from pathlib import Path

from lib.models.baseline import Baseline, load_baseline
from lib.paths import cache_dir, weights_dir


def weights_path(name: str) -> Path:
    """Return where the weights of `name` are: shipped in `weights/`, else rebuilt in the cache."""
    shipped = weights_dir() / f"{name}.safetensors"
    return shipped if shipped.is_file() else cache_dir() / "weights" / f"{name}.safetensors"


def load(name: str) -> Baseline:
    """Load one of the project's IQA models.

    Parameters
    ----------
    name : str
        `baseline-lite0`, `baseline-lite1` (shipped) or any model that `make train` has made.

    Raises
    ------
    FileNotFoundError
        If there are no such weights; the message holds the command that makes them.
    """
    path = weights_path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights of {name!r} (about 7 MB): `make train MODEL={name}` makes them from "
            "BIQ2021 (see `make data PROFILE=open`)"
        )
    return load_baseline(path)
