"""Data sets by name. Every one yields the same records; see `lib.data.records`."""

from importlib import import_module

from lib.data.records import Dataset, Part, Record, Subset
from lib.paths import data_dir

# name -> (module, class, folder under DATA_DIR; None: nothing to download). Modules are imported
# on demand, so that reading one picture does not import every metric there is.
DATASETS = {
    "sample-saliency": ("lib.data.sample", "SampleSaliency", None),
    "sample-quality": ("lib.data.sample", "SampleQuality", None),
    "osie": ("lib.data.osie", "OSIE", "osie"),
    "biq2021": ("lib.data.biq2021", "BIQ2021", "biq2021"),
    "sacid": ("lib.data.sacid", "SACID", "sacid"),
    "simulated-sacid": ("lib.data.simulated_sacid", "SimulatedSACID", None),
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
    module, kind, folder = DATASETS[name]
    dataset = getattr(import_module(module), kind)
    return dataset(**options) if folder is None else dataset(data_dir() / folder, **options)


__all__ = ["DATASETS", "Dataset", "Part", "Record", "Subset", "load"]
