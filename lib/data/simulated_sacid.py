"""A small SACID of one's own: any photographs through the codec, scored by simulated people.

The pictures are real: `build` makes them. The scores are a stand-in. A simulated assessor sees
errors more clearly where people look: their utility of a picture is its PSNR with errors weighted
half by the density of fixations, half evenly. A metric that weights errors in the same way wins *by
construction*. Such scores show the method and prove nothing about people.
"""

import io
import json
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pandas as pd
import PIL
from PIL import Image

from lib import codec, data, subjective, x264
from lib.data.sacid import SACID
from lib.maps import check_map
from lib.models import saliency
from lib.paths import cache_dir
from lib.records import Dataset, Subset
from lib.store import Store, fingerprint, run_all, weights_fingerprint, write_atomically

ATTENTION = 0.5  # share of an assessor's attention that goes where people look
# Utility (logits) a decibel: gives the photographs of the sample profile the spread that SACID's
# scores have within a sequence (1.40 on average).
UNITS_A_DECIBEL = 1.4
# 4:4:4, so that chroma is as decoded. At this quality the JPEG is 45 dB or more from the decoded
# picture, which is 20 to 30 dB from its reference, and moves the latter by 0.05 dB at most.
JPEG = {"quality": 95, "subsampling": 0}


def build(dataset: Dataset, jobs: int | str = 1) -> tuple[Path, pd.DataFrame]:
    """Code every photograph at SACID's twelve test cases, and lay the files out as SACID does.

    Saliency is predicted by `saliency-lite0`; the codec sees the map as it is saved, with a peak of
    255 in 8 bits. A finished photograph is not made again, files appear whole or not at all, and
    the folder is named by everything that decides them: kill it anywhere and call again.

    Returns
    -------
    (Path, DataFrame)
        The folder, and its manifest: sequence, test_case, preset, target_bpp, bpp, qp, encodes,
        share (modelled share of bits in salient macroblocks) and clipped_share (the same after QPs
        are clipped), reachable, reason, bytes (of the coded picture, see `lib.x264`).
    """
    decided = [codec.VERSION, x264.VERSION, av.__version__, PIL.__version__, JPEG]
    decided += [weights_fingerprint(_predictor().readout), dataset.fingerprint, dataset.names]
    root = cache_dir() / "sacid" / fingerprint(decided)
    tasks = [(dataset, index, root) for index in range(len(dataset))]
    rows = run_all(_build_sequence, tasks, jobs, "coding", "photograph")
    return root, pd.DataFrame([row for part in rows for row in part])


@lru_cache(maxsize=1)
def _predictor() -> saliency.SaliencyPredictor:
    return saliency.SaliencyPredictor(saliency.load_readout())


def sequences(dataset: Dataset) -> list[str]:
    """Name a sequence after each record, without the ending of a file."""
    return [
        Path(n).stem if Path(n).suffix.lower() in (".jpg", ".png") else n for n in dataset.names
    ]


def _build_sequence(dataset: Dataset, index: int, root: Path) -> list[dict[str, object]]:
    """Make the files of one photograph, or find them made; return its rows of the manifest."""
    sequence = sequences(dataset)[index]
    part = root / "manifest" / f"{sequence}.json"  # written last: the photograph is finished
    if part.is_file():
        return json.loads(part.read_text(encoding="utf-8"))
    image = dataset[index].image
    density = check_map(_predictor()(image), "the saliency map")
    levels = np.rint(density / float(density.max()) * 255).astype(np.uint8)
    _save(root / "reference" / f"{sequence}.png", image)
    _save(root / "saliency" / f"{sequence}.png", levels)
    aq, ranks = codec.aq_offsets(x264.planes(x264.to_frame(image))), codec.macroblock_map(levels)
    rows, solved = [], {n: codec.solve_offsets(ranks, aq, p) for n, p in codec.PRESETS.items()}
    cases = [(bpp, preset) for bpp in codec.BITRATES for preset in codec.PRESETS]
    for case, (bpp, preset) in zip(codec.TEST_CASES, cases, strict=True):
        offsets = solved[preset]
        coded = x264.encode(image, bpp, offsets.grid)
        _save(root / "compressed" / sequence / f"{case}.jpg", coded.image)
        asked = aq + offsets.grid
        clipped = codec.quantise(coded.qp + asked)
        row = {"sequence": sequence, "test_case": case, "preset": preset, "target_bpp": bpp}
        row |= {"bpp": round(coded.bpp, 6), "qp": round(coded.qp, 4), "encodes": coded.encodes}
        row |= {"share": round(codec.bits_share(asked, offsets.salient), 4)}
        row |= {"clipped_share": round(codec.bits_share(clipped, offsets.salient), 4)}
        row |= {"reachable": not coded.reason, "reason": coded.reason, "bytes": len(coded.data)}
        rows.append(row)
    write_atomically(part, lambda path: path.write_text(json.dumps(rows), encoding="utf-8"))
    return rows


def _save(path: Path, pixels: np.ndarray) -> None:
    buffer, kind = io.BytesIO(), {".jpg": "JPEG", ".png": "PNG"}[path.suffix]
    Image.fromarray(pixels).save(buffer, kind, **(JPEG if kind == "JPEG" else {}))
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getvalue()))


def seen_psnr(reference: np.ndarray, image: np.ndarray, density: np.ndarray) -> float:
    """PSNR (dB) of errors as a simulated assessor sees them; density HxW sums to 1."""
    error = ((image.astype(np.float64) - reference) ** 2).mean(axis=2)
    seen = ATTENTION * (error * density).sum() + (1 - ATTENTION) * error.mean()
    return float(10 * np.log10(255**2 / max(seen, 1e-6)))


def utilities(dataset: Dataset, root: Path) -> pd.DataFrame:
    """Return what simulated assessors go by: sequences x (test cases and the reference); memoised.

    0 is each photograph's worst version; the reference is 4 above the best, so that an attentive
    assessor errs on it about once in 50 questions at most.
    """
    store, rows = Store("sacid-utilities", x264.VERSION, tree=root.name, scale=UNITS_A_DECIBEL), []
    for sequence, record in zip(sequences(dataset), dataset, strict=True):
        if (found := store.get(sequence)) is None:
            paths = [root / "compressed" / sequence / f"{case}.jpg" for case in codec.TEST_CASES]
            pictures = [np.array(Image.open(path).convert("RGB")) for path in paths]
            values = [seen_psnr(record.image, picture, record.density) for picture in pictures]
            found = store.put(sequence, UNITS_A_DECIBEL * np.array(values))
        rows.append(found - found.min())
    table = pd.DataFrame(rows, sequences(dataset), list(codec.TEST_CASES))
    return table.assign(**{subjective.REFERENCE: table.max(axis=1) + 4})


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
    jobs: int | str = 1,
) -> SACID:
    """Build the pictures, let simulated people judge them, and open the tree with their scores.

    `references` (with `options`) is a data set with fixation densities; `images` of its photographs
    are drawn evenly; for the study see `lib.subjective.design_study` and `simulate_votes`.
    """
    dataset = Subset(data.load(references, **(options or {})), images, seed)
    if dataset[0].density is None:
        raise ValueError(f"{references} has no fixation densities for simulated assessors")
    root, _manifest = build(dataset, jobs)
    study = [votes_per_pair, assessors, questions, inattentive, seed]
    scores = root / f"moses-{fingerprint(study)}.csv"
    if not scores.is_file():
        design = subjective.design_study(
            sorted(sequences(dataset)), codec.TEST_CASES, *study[:3], seed=seed
        )
        votes = subjective.simulate_votes(design, utilities(dataset, root), inattentive, seed)
        table = subjective.score_study(subjective.keep_attentive(votes))
        table = table[["sequence", "test_case", "subjective_score"]]
        write_atomically(scores, lambda path: table.to_csv(path, index=False))
    found = SACID(root, scores)
    found.name, found.kind = "simulated-sacid", f"simulated assessors on {references}"
    return found
