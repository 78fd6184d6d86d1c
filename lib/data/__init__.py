"""Data sets by name. Every one yields the same records; see `lib.data.records`."""

from collections.abc import Callable

from lib.data.biq2021 import BIQ2021
from lib.data.osie import OSIE
from lib.data.records import Dataset, Record
from lib.data.sample import SampleQuality, SampleSaliency
from lib.paths import data_dir

DATASETS: dict[str, Callable[..., Dataset]] = {
    "sample-saliency": SampleSaliency,
    "sample-quality": SampleQuality,
    "osie": lambda **options: OSIE(data_dir() / "osie", **options),
    "biq2021": lambda **options: BIQ2021(data_dir() / "biq2021", **options),
}


def load(name: str, **options: object) -> Dataset:
    """Open a data set by name.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    **options
        Passed to the data set (for instance ``split="test"`` for BIQ2021).

    Raises
    ------
    ValueError
        For an unknown name.
    FileNotFoundError
        If the data set is not on disk; the message holds the command that gets it.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; choose one of {sorted(DATASETS)}")
    return DATASETS[name](**options)


__all__ = ["DATASETS", "Dataset", "Record", "load"]
