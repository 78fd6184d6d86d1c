"""OSIE: 700 photographs, each looked at freely for three seconds by 15 eye-tracked viewers.

J. Xu, M. Jiang, S. Wang, M. S. Kankanhalli, Q. Zhao, "Predicting human gaze beyond pixels",
Journal of Vision, 2014 (MIT licence). 800x600 pixels, about 24 pixels a degree of visual angle:
the usual width of the Gaussian that turns fixations into a density.
"""

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from lib.data.download import Source, on_disk
from lib.images import read_image, resize_image
from lib.maps import fixation_density
from lib.records import Dataset, Record
from lib.store import fingerprint

COMMIT = "4a467890fcb40a2fec04cdded552760942bac7a4"
URL = f"https://codeload.github.com/NUS-VIP/predicting-human-gaze-beyond-pixels/zip/{COMMIT}"
FILES = {"data/stimuli/": "stimuli/", "LICENSE": "LICENSE"}
FILES |= {"data/eye/fixations.mat": "fixations.mat"}
SOURCE = Source(URL, "80 MB or more", FILES, limit_mb=200, manifest="osie.sha256", terms="MIT")
# What is compressed has a checksum. Other files, damaged, may crash SciPy: another process tries.
COMPRESSED, LOAD = b"\x0f\0\0\0", "import sys, scipy.io; scipy.io.loadmat(sys.argv[1])"


class OSIE(Dataset):
    """All images with the fixations of all viewers.

    `sigma` is the width of the density's Gaussian, pixels of the 800x600 image; with `long_side`,
    records are reduced to that width, image, fixations and density alike.
    """

    name, kind = "OSIE", "human fixations (15 viewers)"

    def __init__(self, root: Path, sigma: float = 24.0, long_side: int | None = None):
        self.root, self.sigma, self.long_side = Path(root), float(sigma), long_side
        mat = on_disk(self.root / "fixations.mat")
        options = {"squeeze_me": True, "struct_as_record": False}
        self._fixations = read_mat(mat, "OSIE", "fixations", _by_image, **options)
        self.names = sorted(self._fixations)
        every = [(name, self._fixations[name].tobytes()) for name in self.names]
        self.fingerprint = fingerprint(["osie", self.sigma, long_side, *every])

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        image = read_image(self.root / "stimuli" / name)
        return gaze_record(name, image, self._fixations[name], self.sigma, self.long_side)


def gaze_record(
    name: str, image: np.ndarray, fixations: np.ndarray, sigma: float, long_side: int | None = None
) -> Record:
    """Lay gaze (Nx2, pixels from 0) over its picture, all reduced to `long_side` if it is larger.

    `sigma` (pixels of the whole picture) is the width of the density's Gaussian.
    """
    scale = min(1.0, (long_side or np.inf) / max(image.shape[:2]))
    height, width = (round(side * scale) for side in image.shape[:2])
    image = resize_image(image, height, width)
    x, y = (fixations * scale).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # some gaze leaves the screen
    fixations = np.column_stack([x, y])[inside]
    try:
        density = fixation_density(fixations, (height, width), sigma * scale)
    except ValueError as error:  # such as: nobody looked at it
        raise ValueError(f"{name}: {error}") from error
    return Record(name, image, fixations, density)


def _by_image(trials: np.ndarray) -> dict[str, np.ndarray]:
    """Join the gaze on each image, Nx2: screen coordinates as they are, 1.2 to 799.2 and 599.2."""
    found = {}
    for trial in np.atleast_1d(trials):
        gaze = [found.get(str(trial.img), np.empty((0, 2)))]  # of an earlier trial: joined
        gaze += [np.column_stack([s.fix_x, s.fix_y]) for s in np.atleast_1d(trial.subjects)]
        found[str(trial.img)] = np.concatenate(gaze).astype(np.float64)
    return found


def read_mat(mat: Path, whose: str, key: str, parse: Callable, **options: bool) -> object:
    """Return what `parse` makes of a variable of a MATLAB file; a ValueError names a wrong file."""
    content = mat.read_bytes()  # an OSError of the disk is not the file's fault
    try:
        if content[128:132] != COMPRESSED:
            done = subprocess.run([sys.executable, "-c", LOAD, mat], stderr=subprocess.DEVNULL)
            if done.returncode not in (0, 1):  # 1: it raises, here too
                raise ValueError("it crashes SciPy")
        return parse(loadmat(BytesIO(content), variable_names=key, **options)[key])
    except Exception as error:  # of damaged files, SciPy raises what it stumbles over
        reason = f"no {key}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ValueError(f"{mat} is not {whose}'s ({reason}); download it again") from error


open = OSIE  # what `data.load` calls
