"""What every data set yields: one kind of record, from one kind of lazy sequence."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Record:
    """One image with what people (or a stand-in) said of it.

    Attributes
    ----------
    name : str
        Unique within the data set.
    image : numpy.ndarray
        HxWx3 uint8, RGB.
    fixations : numpy.ndarray or None
        Nx2 float64, x then y, in pixels of `image`.
    density : numpy.ndarray or None
        HxW float32, non-negative, sums to 1.
    mos : float or None
        Mean opinion score; higher is better.
    mos_range : (float, float) or None
        Lowest and highest value that `mos` can take.
    """

    name: str
    image: np.ndarray
    fixations: np.ndarray | None = None
    density: np.ndarray | None = None
    mos: float | None = None
    mos_range: tuple[float, float] | None = None


class Dataset(Sequence[Record]):
    """A lazy sequence of records: images are read when indexed, never before.

    Attributes
    ----------
    name : str
        The name under which `lib.data.load` finds it.
    kind : str
        Where its labels come from ("human fixations", "simulated observers", ...): printed on
        every table and figure.
    names : list of str
        The record names, in order.
    fingerprint : str
        Hex digest of everything that decides the records: the key of every cached result.
    contents : list of str
        What each record shows: versions of one photograph share it. The names, by default.
    """

    name: str
    kind: str
    names: list[str]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def contents(self) -> list[str]:  # noqa: D102 (stands among the attributes)
        return self.names

    @abstractmethod
    def __getitem__(self, index: int) -> Record:
        """Return record `index` (negative counts from the end; IndexError past the ends)."""

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} records, {self.kind}, {self.fingerprint[:8]}>"


class Part(Dataset):
    """Some records of a data set, by their numbers; they share the whole's cached results.

    Parameters
    ----------
    dataset : Dataset
        The whole.
    chosen : iterable of int
        Numbers of its records.
    """

    def __init__(self, dataset: Dataset, chosen: Iterable[int]):
        self._whole, self._chosen = dataset, [int(i) for i in chosen]
        self.name, self.kind = dataset.name, dataset.kind
        self.names = [dataset.names[i] for i in self._chosen]
        self.fingerprint = dataset.fingerprint  # results are keyed by record name as well

    def __getitem__(self, index: int) -> Record:
        return self._whole[self._chosen[index]]

    @property
    def contents(self) -> list[str]:  # noqa: D102
        whole = self._whole.contents
        return [whole[i] for i in self._chosen]


class Subset(Part):
    """`count` records of a data set, drawn evenly at random (all of them if it has no more)."""

    def __init__(self, dataset: Dataset, count: int, seed: int = 0):
        order = np.random.default_rng(seed).permutation(len(dataset))
        super().__init__(dataset, np.sort(order[:count]))


def fingerprint(parts: Iterable[object]) -> str:
    """Digest a series of values (their `str`) into 16 hex characters, order included."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]
