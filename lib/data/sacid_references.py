"""SACID's photographs before compression, 60 of CLIC 2021, with the maps that its codec followed.

Nobody's gaze is known on them. The maps, TranSalNet's in the paper (Section III-D), stand in for it
where notebook 04 simulates assessors.
"""

from pathlib import Path

from lib.data.sacid import SACID
from lib.maps import normalize_sum
from lib.records import Dataset, Record


class References(Dataset):
    """The references of a SACID folder, `sacid` beside this one's; the density is the map's."""

    name, kind = "CLIC 2021 through SACID", "predicted saliency (SACID's)"

    def __init__(self, root: Path):
        self._sacid = SACID(Path(root).with_name("sacid"))
        self.names = self._sacid.sequences
        self.fingerprint = f"references {self._sacid.fingerprint}"

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        density = normalize_sum(self._sacid.saliency_map(name))
        return Record(name, self._sacid.reference(name), density=density)


open = References  # what `data.load` calls
