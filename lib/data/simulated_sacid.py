"""A small SACID of one's own: any photographs through the codec, scored by simulated people.

The pictures are real: `build` makes them. The scores are a stand-in (`study`): an assessor's
utility of a picture is its PSNR with errors weighted half by the density of fixations, half evenly.
A metric that weights errors so wins *by construction*: such scores prove nothing about people. What
stays is a tree that `lib.data.sacid.SACID` reads, with three tables more (`read`): manifest (what
the codec reached), utilities (what assessors go by), votes (their choice).
"""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path

import av
import numpy as np
import pandas as pd
import PIL
from PIL import Image

from lib import codec, data, models, subjective, x264
from lib.codec import BITRATES, PRESETS, TEST_CASES
from lib.data.sacid import SACID, read_map
from lib.jobs import run_all
from lib.maps import check_map
from lib.models.saliency import SaliencyPredictor, load_readout
from lib.paths import cache_dir
from lib.records import Dataset, Subset
from lib.store import fingerprint, read_sealed, write_atomically, write_sealed

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
    votes_per_pair: int = 10,
    assessors: int = 200,
    questions: int = 2,
    inattentive: float = 0.1,
    seed: int = 0,
    jobs: int = 1,
) -> SACID:
    """Build it in the cache, or find it built: `images` photographs of a data set with gaze.

    `references` and its `options` are for `lib.data.load`, `jobs` are the builder's processes, the
    rest sets up the study (`lib.subjective`).
    """
    design = {"votes_per_pair": votes_per_pair, "assessors": assessors, "questions": questions}
    subjective.design_study([""], **design)  # refuses before the coding
    dataset = Subset(data.load(references, **(options or {})), images, seed)
    if dataset[0].density is None:
        raise ValueError(f"{references} has no fixation densities for simulated assessors")
    made_by = [codec.VERSION, x264.VERSION, av.__version__, PIL.__version__]
    made_by += [models.weights_path("saliency-lite0").read_bytes()]
    key = fingerprint([*made_by, dataset.fingerprint, dataset.names])
    pictures = cache_dir() / "sacid" / f"{references}-{key}"
    _ready(pictures, lambda: build(dataset, pictures, jobs=jobs))
    crowd = {**design, "inattentive": inattentive, "seed": seed}
    root = pictures.with_name(f"{pictures.name}-{fingerprint(crowd.items())}")
    _ready(root, lambda: study(pictures, root, f"simulated assessors on {references}", **crowd))
    return SACID(root)


def _ready(root: Path, make: Callable[[], object]) -> None:
    """Make a tree, or go on with it, unless all its files are as they were when it was ready."""

    def digest() -> bytes:
        files = sorted(p for p in root.rglob("[!.]*") if p.is_file())
        return fingerprint(x for p in files for x in (p.relative_to(root), p.read_bytes())).encode()

    ready = root / ".ready"
    with suppress(OSError):
        if read_sealed(ready) == digest():
            return
    if ready.exists():
        print(f"{root} was damaged: made again from the start", flush=True)
        shutil.rmtree(root)
    make()
    write_sealed(ready, [digest()])


def build(images: Dataset, root: Path, saliency: Predictor = None, jobs: int = 1) -> pd.DataFrame:
    """Code every picture at every bitrate and preset, and lay the files out as SACID does.

    What was coded is not coded again: killed anywhere and run again, the files are the same.
    Another picture or code needs another `root`. A sequence is named after the record, without an
    ending. Maps that stand in `saliency/` are used as they are; `saliency` makes the others (HxW,
    non-negative) from a picture: by default, the project's own predictor.

    Returns the manifest: sequence, test_case, preset, target_bpp, bpp, qp, encodes, share (modelled
    share of bits in salient macroblocks) and clipped_share (after QPs are clipped), reachable,
    reason, bytes (of the coded picture), seen (`seen_psnr`, where there is a density).
    """
    stems = pd.Series([Path(name).stem for name in images.names], images.names)
    if len(same := stems.index[stems.duplicated(keep=False)]):
        raise ValueError(f"{' and '.join(same[:2])} would be one sequence; rename one of them")
    if not (root / "manifest.csv").is_file():
        tasks = [(images, index, root, saliency) for index in range(len(images))]
        parts = run_all(_build_sequence, tasks, jobs, "coding", "photograph")
        _write(pd.DataFrame([row for part in parts for row in part]), root / "manifest.csv")
    return read(root, "manifest")


def _build_sequence(images: Dataset, index: int, root: Path, saliency: Predictor) -> list[dict]:
    """Make the files of one sequence that do not stand yet; return its rows of the manifest."""
    record, sequence = images[index], Path(images.names[index]).stem
    _save(record.image, root / "reference" / f"{sequence}.png")
    map_path = root / "saliency" / f"{sequence}.png"
    if not map_path.is_file():
        predict = saliency or SaliencyPredictor(load_readout())
        found = check_map(predict(record.image), f"the map of {sequence}")
        _save(np.rint(found / (found.max() or 1) * 255).astype(np.uint8), map_path)
    salience = codec.macroblock_map(np.rint(255 * read_map(map_path, record.image.shape[:2])))
    aq, rows = codec.aq_offsets(x264.planes(x264.to_frame(record.image))), []
    solved = {n: codec.solve_offsets(salience, aq, p) for n, p in PRESETS.items()}
    for case, (bpp, preset) in zip(TEST_CASES, product(BITRATES, solved), strict=True):
        path, offsets = root / "compressed" / sequence / f"{case}.jpg", solved[preset]
        if (found := _coded(path)) is None:
            coded = x264.encode(record.image, bpp, offsets.grid)
            row = {"sequence": sequence, "test_case": case, "preset": preset, "target_bpp": bpp}
            row |= {"bpp": round(coded.bpp, 6), "qp": round(coded.qp, 4), "encodes": coded.encodes}
            row["share"] = round(codec.share(aq + offsets.grid, offsets.salient), 4)
            row["clipped_share"] = round(codec.share(coded.qp_map, offsets.salient), 4)
            row |= {"reachable": not coded.reason, "reason": coded.reason, "bytes": len(coded.data)}
            # The row travels in the picture's own comment: one file, there or not there.
            _save(coded.image, path, **JPEG, comment=json.dumps(row))
        row, decoded = found or _coded(path)
        if record.density is not None:
            row["seen"] = seen_psnr(record.image, decoded, record.density)
        rows.append(row)
    return rows


def seen_psnr(reference: np.ndarray, image: np.ndarray, density: np.ndarray) -> float:
    """Return the PSNR (dB) of errors as a simulated assessor sees them; the density sums to 1."""
    error = ((image.astype(np.float64) - reference) ** 2).mean(axis=2)
    seen = ATTENTION * (error * density).sum() + (1 - ATTENTION) * error.mean()
    return float(10 * np.log10(255**2 / max(seen, 1e-6)))


def study(
    pictures: Path, root: Path, kind: str, inattentive: float, seed: int, **design: int
) -> None:
    """Let simulated assessors judge a built tree; `root`, beside it, links to it and has tables."""
    root.mkdir(exist_ok=True)
    for name in ("reference", "saliency", "compressed", "manifest.csv"):
        with suppress(FileExistsError):
            (root / name).symlink_to(Path("..", pictures.name, name))
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
    names = {"dtype": {"sequence": str}, "keep_default_na": False, "na_values": [""]}  # such as NA
    return pd.read_csv(Path(root) / f"{table}.csv", **names)


def _write(table: pd.DataFrame, path: Path) -> None:
    write_atomically(path, lambda p: table.to_csv(p, index=False, lineterminator="\n"))


def _save(pixels: np.ndarray, path: Path, **options: object) -> None:
    write_atomically(path, lambda p: Image.fromarray(pixels).save(p, **options))


def _coded(path: Path) -> tuple[dict, np.ndarray] | None:
    """Read a coded picture and its row of the manifest; None where it is damaged or not there."""
    try:
        with Image.open(path) as picture:
            return json.loads(picture.info["comment"]), np.asarray(picture)
    except (OSError, SyntaxError, KeyError, ValueError):
        return None
