"""A small SACID of one's own: any photographs through the codec, scored by simulated people.

The pictures are real: `lib.data.sacid.build` makes them. The scores are a stand-in. A simulated
assessor sees errors more clearly where people look: their utility of a picture is its PSNR with
errors weighted half by the density of fixations, half evenly. A metric that weights errors in the
same way wins *by construction*. Such scores show the method and prove nothing about people.
"""

import numpy as np
import pandas as pd

from lib import data, subjective
from lib.data.sacid import SACID, TEST_CASES, build
from lib.paths import cache_dir
from lib.records import Subset
from lib.store import Store, fingerprint

ATTENTION = 0.5  # share of an assessor's attention that goes where people look
# Utility (logits) a decibel: gives the photographs of the sample profile the spread that SACID's
# scores have within a sequence (1.40 on average).
UNITS_A_DECIBEL = 1.4


class SimulatedSACID(SACID):
    """Photographs with gaze, coded at SACID's twelve test cases, and simulated scores.

    Parameters
    ----------
    references : str
        A data set with fixation densities (`lib.data.load`).
    options : dict, optional
        Its options.
    images : int, optional
        How many of its photographs, drawn evenly; all of them without it.
    votes_per_pair, assessors, questions, inattentive
        The study, see `lib.subjective.design_study` and `simulate_votes`.
    seed : int
        Of the choice of photographs, the design and the votes.
    jobs : int
        Worker processes of the builder.

    Attributes
    ----------
    manifest : DataFrame
        What the builder reached (`lib.data.sacid.build`).
    utilities : DataFrame
        What the simulated assessors go by: sequences x (test cases and the reference).
    votes : DataFrame
        What they chose.
    """

    name = "simulated-sacid"

    def __init__(
        self,
        references: str = "sample-saliency",
        options: dict[str, object] | None = None,
        images: int | None = None,
        votes_per_pair: int = 10,
        assessors: int = 200,
        questions: int = 2,
        inattentive: float = 0.1,
        seed: int = 0,
        jobs: int = 1,
    ):
        dataset = data.load(references, **(options or {}))
        if images is not None:
            dataset = Subset(dataset, images, seed)
        if dataset[0].density is None:
            raise ValueError(f"{references} has no fixation densities for simulated assessors")
        folder = fingerprint([dataset.fingerprint, dataset.names])
        root = cache_dir() / "sacid" / f"{references}-{folder}"
        self.manifest = build(dataset, root, jobs=jobs)
        super().__init__(root)
        self.kind = f"simulated assessors on {references}"
        self.utilities = self._utilities(dataset)
        design = subjective.design_study(
            self.sequences, TEST_CASES, votes_per_pair, assessors, questions, seed=seed
        )
        self.votes = subjective.simulate_votes(design, self.utilities, inattentive, seed=seed)
        scored = subjective.score_study(subjective.keep_attentive(self.votes))
        scores = scored.set_index(["sequence", "test_case"]).subjective_score
        wanted = pd.MultiIndex.from_frame(self.table[["sequence", "test_case"]])
        self.table["score"] = scores.reindex(wanted).to_numpy()
        self.fingerprint = fingerprint([self.fingerprint, self.table.score.round(9).tolist()])

    def _utilities(self, dataset) -> pd.DataFrame:
        """Return sequences x (test cases and the reference); an assessor never errs on the last."""
        store = Store("sacid-utilities", 1, tree=self.fingerprint)
        if (found := store.get("utilities")) is None:
            of = dict(zip(self.manifest.sequence.drop_duplicates(), dataset, strict=True))
            found = np.array(
                [
                    [
                        UNITS_A_DECIBEL * seen_psnr(of[s].image, self[i].image, of[s].density)
                        for i in np.flatnonzero(self.table.sequence == s)
                    ]
                    for s in self.sequences
                ]
            )
            store.put("utilities", found)
        utilities = pd.DataFrame(found, self.sequences, list(TEST_CASES))
        utilities = utilities.sub(utilities.min(axis=1), axis=0)
        return utilities.assign(**{subjective.REFERENCE: utilities.max(axis=1) + 4})


def seen_psnr(reference: np.ndarray, image: np.ndarray, density: np.ndarray) -> float:
    """Return the PSNR (dB) of errors as a simulated assessor sees them.

    Parameters
    ----------
    reference, image : numpy.ndarray
        HxWx3 uint8.
    density : numpy.ndarray
        HxW, sums to 1: where people look.
    """
    error = ((image.astype(np.float64) - reference) ** 2).mean(axis=2)
    seen = ATTENTION * (error * density).sum() + (1 - ATTENTION) * error.mean()
    return float(10 * np.log10(255**2 / max(seen, 1e-6)))


def open(_: object, **options: object) -> SimulatedSACID:
    """Build it, or find it built; nothing is read from the data folder."""
    return SimulatedSACID(**options)
