"""The project's models by name."""

from pathlib import Path

from lib.models.baseline import Baseline, load_baseline
from lib.models.dual import DualTask
from lib.paths import cache_dir, weights_dir


def weights_path(name: str) -> Path:
    """Return where the weights of `name` are: shipped in `weights/`, else rebuilt in the cache."""
    shipped = weights_dir() / f"{name}.safetensors"
    return shipped if shipped.is_file() else cache_dir() / "weights" / f"{name}.safetensors"


DUAL_TASK = "gradcam-loss-lite0"  # the network behind `load("dual-task")`


def load(name: str) -> Baseline | DualTask:
    """Load one of the project's models.

    Parameters
    ----------
    name : str
        `baseline-lite0`, `baseline-lite1`, `sal-loss-lite0`, `gradcam-loss-lite0` (shipped), or
        any network that `make train` has made. Or `dual-task`: from a picture, HxWx3 uint8, to its
        score and its saliency.

    Raises
    ------
    FileNotFoundError
        If there are no such weights; the message holds the command that makes them.
    """
    if name == "dual-task":
        return DualTask(load(DUAL_TASK))
    path = weights_path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights of {name!r} (about 7 MB): `make train MODEL={name}` makes them from "
            "people's data (see `make data PROFILE=open`)"
        )
    return load_baseline(path)
