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
    """

    name: str
    kind: str
    names: list[str]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def __getitem__(self, index: int) -> Record:
        """Return record `index` (negative counts from the end; IndexError past the ends)."""

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} records, {self.kind}, {self.fingerprint[:8]}>"


def fingerprint(parts: Iterable[object]) -> str:
    """Digest a series of values (their `str`) into 16 hex characters, order included."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]
