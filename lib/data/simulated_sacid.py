"""A small SACID of one's own: any photographs through the codec, scored by simulated people.

The pictures are real: `build` makes them. The scores are a stand-in (`study`): an assessor's
utility of a picture is its PSNR with errors weighted half by the density of fixations, half evenly.
A metric that weights errors so wins *by construction*: such scores prove nothing about people. What
stays is a tree that `lib.data.sacid.SACID` reads, with three tables more (`read`): manifest (what
the codec reached), utilities (what assessors go by), votes (their choice).
"""

import json
import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import av
import numpy as np
import pandas as pd
import PIL
from PIL import Image

from lib import codec, data, models, subjective, x264
from lib.codec import BITRATES, PRESETS, TEST_CASES
from lib.data.sacid import SACID
from lib.images import read_image
from lib.maps import check_map
from lib.models.saliency import SaliencyPredictor, load_readout
from lib.paths import cache_dir
from lib.records import Dataset, Subset
from lib.store import fingerprint, run_all, write_atomically

ATTENTION = 0.5  # share of an assessor's attention that goes where people look
UNITS_A_DECIBEL = 1.4  # logits: the sample photographs' scores spread like SACID's (1.40)
# Chroma as decoded; the JPEG is 45 dB or more from the decoded picture, itself 20 to 30 dB from its
# reference, and moves the latter by 0.05 dB at most.
JPEG = {"quality": 95, "subsampling": 0}
Predictor = Callable[[np.ndarray], np.ndarray] | None


def open(
    _: Path,
    references: str = "sample-saliency",
    options: dict[str, object] | None = None,
    images: int | None = None,
    assessors: int = 200,
    inattentive: float = 0.1,
    seed: int = 0,
    jobs: int = 1,
    **design: int,
) -> SACID:
    """Build it in the cache, or find it built: `images` photographs of a data set with gaze.

    `references` and its `options` are for `lib.data.load`, `jobs` are the builder's processes, the
    rest sets up the study (`lib.subjective`): votes_per_pair and questions are the `design`.
    """
    dataset = Subset(data.load(references, **(options or {})), images, seed)
    if dataset[0].density is None:
        raise ValueError(f"{references} has no fixation densities for simulated assessors")
    made_by = [codec.VERSION, x264.VERSION, av.__version__, PIL.__version__]
    made_by += [models.weights_path("saliency-lite0").read_bytes()]
    key = fingerprint([*made_by, dataset.fingerprint, dataset.names])
    pictures = cache_dir() / "sacid" / f"{references}-{key}"
    build(dataset, pictures, jobs=jobs)
    crowd = {"assessors": assessors, "inattentive": inattentive, "seed": seed, **design}
    root = pictures.with_name(f"{pictures.name}-{fingerprint(sorted(crowd.items()))}")
    if not (root / "moses.csv").is_file():
        shutil.copytree(pictures, root, copy_function=_link, dirs_exist_ok=True)
        study(root, f"simulated assessors on {references}", **crowd)
    return SACID(root)


def build(images: Dataset, root: Path, saliency: Predictor = None, jobs: int = 1) -> pd.DataFrame:
    """Code every picture at every bitrate and preset, and lay the files out as SACID does.

    A file that stands is not made again: killed anywhere and run again, the files are the same.
    Another picture or code needs another `root`. A sequence is named after the record, without an
    ending. Maps that stand in `saliency/` are used as they are; `saliency` makes the others (HxW,
    non-negative) from a picture: by default, the project's own predictor.

    Returns the manifest: sequence, test_case, preset, target_bpp, bpp, qp, encodes, share (modelled
    share of bits in salient macroblocks) and clipped_share (after QPs are clipped), reachable,
    reason, bytes (of the coded picture), seen (`seen_psnr`, where there is a density).
    """
    if not (root / "manifest.csv").is_file():
        tasks = [(images, index, root, saliency) for index in range(len(images))]
        parts = run_all(_build_sequence, tasks, jobs, "coding", "photograph")
        _write(pd.DataFrame([row for part in parts for row in part]), root / "manifest.csv")
    return read(root, "manifest")


def _build_sequence(images: Dataset, index: int, root: Path, saliency: Predictor) -> list[dict]:
    """Make the files of one sequence that do not stand yet; return its rows of the manifest."""
    record, stems = images[index], [Path(name).stem for name in images.names]
    sequence = stems[index]
    if stems.count(sequence) > 1:  # a.jpg beside a.png
        sequence = record.name.replace("/", "_")
    path, map_path = (root / kind / f"{sequence}.png" for kind in ("reference", "saliency"))
    _save(record.image, path)
    if not map_path.is_file():
        predict = saliency or SaliencyPredictor(load_readout())
        found = check_map(predict(record.image), f"the map of {sequence}")
        _save(np.rint(found / (found.max() or 1) * 255).astype(np.uint8), map_path)
    salience = codec.macroblock_map(read_image(map_path)[..., 0])
    aq, rows = codec.aq_offsets(x264.planes(x264.to_frame(record.image))), []
    solved = {n: codec.solve_offsets(salience, aq, p) for n, p in PRESETS.items()}
    for case, (bpp, preset) in zip(TEST_CASES, product(BITRATES, solved), strict=True):
        path, offsets = root / "compressed" / sequence / f"{case}.jpg", solved[preset]
        if not path.is_file():
            coded = x264.encode(record.image, bpp, offsets.grid)
            row = {"sequence": sequence, "test_case": case, "preset": preset, "target_bpp": bpp}
            row |= {"bpp": round(coded.bpp, 6), "qp": round(coded.qp, 4), "encodes": coded.encodes}
            row["share"] = round(codec.share(aq + offsets.grid, offsets.salient), 4)
            row["clipped_share"] = round(codec.share(coded.qp_map, offsets.salient), 4)
            row |= {"reachable": not coded.reason, "reason": coded.reason, "bytes": len(coded.data)}
            # The row travels in the picture's own comment: one file, there or not there.
            _save(coded.image, path, **JPEG, comment=json.dumps(row))
        with Image.open(path) as picture:
            row, decoded = json.loads(picture.info["comment"]), np.asarray(picture)
        if record.density is not None:
            row["seen"] = seen_psnr(record.image, decoded, record.density)
        rows.append(row)
    return rows


def seen_psnr(reference: np.ndarray, image: np.ndarray, density: np.ndarray) -> float:
    """Return the PSNR (dB) of errors as a simulated assessor sees them; the density sums to 1."""
    error = ((image.astype(np.float64) - reference) ** 2).mean(axis=2)
    seen = ATTENTION * (error * density).sum() + (1 - ATTENTION) * error.mean()
    return float(10 * np.log10(255**2 / max(seen, 1e-6)))


def study(root: Path, kind: str, inattentive: float, seed: int, **design: int) -> None:
    """Let simulated assessors judge a built tree: utilities, votes, and scores, which come last."""
    seen = read(root, "manifest").pivot(index="sequence", columns="test_case", values="seen")
    utilities = UNITS_A_DECIBEL * seen[TEST_CASES].sub(seen.min(axis=1), axis=0)
    # An attentive assessor errs on the reference about once in 2,000 verifications.
    utilities[subjective.REFERENCE] = utilities.max(axis=1) + 4
    asked = subjective.design_study(utilities.index, seed=seed, **design)
    votes = subjective.simulate_votes(asked, utilities, inattentive, seed)
    scores = subjective.score_study(subjective.keep_attentive(votes))
    about = json.dumps({"name": "simulated-sacid", "kind": kind})
    write_atomically(root / "about.json", lambda path: path.write_text(about))
    _write(utilities.reset_index(), root / "utilities.csv")
    _write(votes, root / "votes.csv")
    _write(scores[["sequence", "test_case", "subjective_score"]], root / "moses.csv")


def read(root: Path, table: str) -> pd.DataFrame:
    """Read a table of a tree: "manifest", "votes" or "utilities"."""
    return pd.read_csv(Path(root) / f"{table}.csv", dtype={"sequence": str})


def _write(table: pd.DataFrame, path: Path) -> None:
    write_atomically(path, lambda p: table.to_csv(p, index=False, lineterminator="\n"))


def _save(pixels: np.ndarray, path: Path, **options: object) -> None:
    if not path.is_file():
        write_atomically(path, lambda p: Image.fromarray(pixels).save(p, **options))


def _link(source: str, target: str) -> None:  # studies share their pictures
    if not Path(target).exists():
        os.link(source, target)
