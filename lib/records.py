"""What every data set yields: one kind of record, from one kind of lazy sequence."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

OPENED: set[str] = set()  # names and fingerprints of the data sets that this process has opened


@dataclass(frozen=True)
class Record:
    """One image with what people (or a stand-in) said of it."""

    name: str  # unique within the data set
    image: np.ndarray  # HxWx3 uint8, RGB
    fixations: np.ndarray | None = None  # Nx2 float64, x then y, pixels of `image`
    density: np.ndarray | None = None  # HxW float32, non-negative, sums to 1
    mos: float | None = None  # mean opinion score, higher is better
    mos_range: tuple[float, float] | None = None  # lowest and highest value of `mos`


class Dataset(Sequence[Record]):
    """A lazy sequence of records: images are read when indexed, never before."""

    name: str  # as printed on tables and figures
    kind: str  # where its labels come from ("human fixations", ...), printed likewise
    names: list[str]  # the record names, in order
    fingerprint: str  # digest of everything that decides the records: the key of cached results

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def contents(self) -> list[str]:
        """What each record shows: versions of one photograph share it. By default the names."""
        return self.names

    @abstractmethod
    def __getitem__(self, index: int) -> Record:
        """Return record `index` (negative counts from the end; IndexError past the ends)."""

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} records, {self.kind}, {self.fingerprint[:8]}>"


class Part(Dataset):
    """Some records of a data set, by their numbers; they share the whole's cached results."""

    def __init__(self, dataset: Dataset, chosen: Iterable[int]):
        self._whole, self._chosen = dataset, [int(i) for i in chosen]
        self.name, self.kind = dataset.name, dataset.kind
        lists = dataset.names, dataset.contents
        self.names, self.contents = ([whole[i] for i in self._chosen] for whole in lists)
        self.fingerprint = dataset.fingerprint  # results are keyed by record name as well

    def __getitem__(self, index: int) -> Record:
        return self._whole[self._chosen[index]]


def parts_of(dataset: Dataset, size: int = 16) -> list[Part]:
    """Cut a data set into parts of `size` records: the tasks that `lib.jobs.run_all` spreads."""
    numbers = range(len(dataset))
    return [Part(dataset, numbers[start : start + size]) for start in numbers[::size]]


class Subset(Part):
    """`count` records of a data set, drawn evenly at random; all of them for None or too many."""

    def __init__(self, dataset: Dataset, count: int | None, seed: int = 0):
        if count is not None and count < 1:
            raise ValueError(f"at least 1 image is needed, not {count}; None takes all of them")
        order = np.random.default_rng(seed).permutation(len(dataset))
        super().__init__(dataset, np.sort(order[:count]))


def folds_of(count: int, folds: int, seed: int) -> np.ndarray:
    """Return the fold (0 ... folds-1) of each of `count` images, drawn evenly at random."""
    if not 2 <= folds <= count:
        raise ValueError(f"folds must be between 2 and the {count} images, not {folds}")
    return np.random.default_rng(seed).permutation(np.arange(count) % folds)
