"""Data sets by name. Every one yields the same records; see `lib.records`.

A data set is a file of this folder that defines ``open(root, **options) -> Dataset``, and `SOURCE`
(a `lib.data.download.Source`) if there is something to fetch. The name "sample-saliency" is the
file ``sample_saliency.py``; `root` is the folder of that name under DATA_DIR.
"""

from importlib import import_module
from inspect import signature
from pathlib import Path

from lib.paths import data_dir
from lib.records import OPENED, Dataset, Part, Record, Subset

__all__ = ["Dataset", "Part", "Record", "Subset", "load", "names"]


def names() -> list[str]:
    """Return the names of all data sets, sorted."""
    files = {path.stem for path in Path(__file__).parent.glob("*.py")}
    files -= {"__init__", "download", "checkpoints"}
    return sorted(stem.replace("_", "-") for stem in files)


def load(name: str, **options: object) -> Dataset:
    """Open a data set by name; the options are its own (``split="test"`` for BIQ2021).

    ValueError for an unknown name; FileNotFoundError, with a command, for one that is not on disk.
    """
    if name not in names():
        raise ValueError(f"unknown data set {name!r}; choose one of {', '.join(names())}")
    # Imported on demand: reading one picture need not import every metric there is.
    module = import_module(f"lib.data.{name.replace('-', '_')}")
    try:
        signature(module.open).bind(data_dir(), **options)
    except TypeError as error:
        has = ", ".join([*signature(module.open).parameters][1:]) or "none"
        raise ValueError(f"data set {name}: {error}; its options: {has}") from error
    dataset = module.open(data_dir() / name, **options)
    OPENED.add(f"{name} {dataset.fingerprint}")
    return dataset
