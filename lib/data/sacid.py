"""SACID: 60 photographs, each through a saliency-aware codec at 4 presets x 3 bitrates.

A. Kirillov, A. Moskalenko, D. Vatolin, "Bridging the Gap Between Saliency Prediction and Image
Quality Assessment" (Section III-D); github.com/Alexkkir/SACID. Subjective scores are from pairwise
comparisons within a sequence, anchored at 0 for its worst picture: they do not compare across
sequences.

A tree of pictures, whether published or made by `build` (also ``python -m lib.data.sacid``):

    reference/<sequence>.png
    saliency/<sequence>.png
    compressed/<sequence>/h264v@targetbbp100=<8|12|16>_preset=<none|p132|p220|p310>.jpg
    moses.csv       (published)  sequence, test_case, subjective_score
    manifest.csv    (`build`)    what was reached, and the hashes of the files

The 720 published scores ship with the project (`read_scores`); the pictures do not.
"""

import argparse
import hashlib
import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pandas as pd
import PIL
from PIL import Image

from lib import codec
from lib.images import read_image
from lib.maps import check_maps, resize_map
from lib.records import Dataset, Record
from lib.stats import bootstrap_interval
from lib.store import fingerprint, run_all, write_atomically

BITRATES = (0.08, 0.12, 0.16)  # bits per pixel
# The twelve, plain codec first at each bitrate.
TEST_CASES = tuple(
    f"h264v@targetbbp100={round(100 * bpp)}_preset={preset}"
    for bpp in BITRATES
    for preset in codec.PRESETS
)
# moses.csv of github.com/Alexkkir/SACID, as published.
PUBLISHED_SCORES = Path(__file__).with_name("sacid_scores.csv")
PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# 4:4:4, so that chroma is as decoded. At this quality the JPEG is 45 dB or more from the decoded
# picture, which is 20 to 30 dB from its reference, and moves the latter by 0.05 dB at most.
JPEG = {"quality": 95, "subsampling": 0}
PARTS = ".parts"  # a JSON file a finished sequence: what a rerun of `build` need not make again
LEFTOVER = re.compile(r"\.[a-z0-9_]{8}\.(png|jpg|json|csv)")  # of a killed `write_atomically`

Predictor = Callable[[np.ndarray], np.ndarray]


class SACID(Dataset):
    """The compressed pictures; records are named ``<sequence>/<test_case>``.

    Parameters
    ----------
    root : Path
        Folder of the tree. `moses.csv` says what it holds, or `manifest.csv`; without either,
        each folder of `compressed/` must hold the twelve test cases.

    Attributes
    ----------
    sequences : list of str
        Their names, sorted.
    table : DataFrame
        One row a record: sequence, test_case, score (NaN where there is none).

    Raises
    ------
    FileNotFoundError
        If the folder, a reference, a saliency map or a compressed picture is missing.
    ValueError
        If `moses.csv` lacks a column or a test case, repeats one, or has a score that is no
        finite number.
    """

    name = "SACID"

    def __init__(self, root: Path):
        self.root = Path(root)
        self.table = _read_table(self.root)
        self.kind = (
            "no scores" if self.table.score.isna().all() else "human scores (pairwise, anchored)"
        )
        self.sequences = sorted(self.table.sequence.unique())
        self.names = [
            f"{s}/{c}" for s, c in zip(self.table.sequence, self.table.test_case, strict=True)
        ]
        wanted = [f"{kind}/{s}.png" for kind in ("reference", "saliency") for s in self.sequences]
        wanted += [f"compressed/{name}.jpg" for name in self.names]
        missing = [path for path in wanted if not (self.root / path).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(wanted)} files are missing in {self.root}, the first is "
                f"{missing[0]}; run `make data PROFILE=open` for the published SACID, or "
                "lib.data.sacid.build again for a tree of your own"
            )
        self.fingerprint = fingerprint(
            ["sacid", *zip(self.names, self.table.score, strict=True)]
            + [(path, (self.root / path).stat().st_size) for path in wanted]
        )

    def __getitem__(self, index: int) -> Record:
        row = self.table.iloc[index]
        image = read_image(self.root / "compressed" / row.sequence / f"{row.test_case}.jpg")
        score = None if np.isnan(row.score) else float(row.score)
        return Record(self.names[index], image, mos=score)

    def reference(self, sequence: str) -> np.ndarray:
        """Read the uncompressed picture of a sequence: HxWx3 uint8."""
        return read_image(self._path("reference", sequence))

    def saliency_map(self, sequence: str) -> np.ndarray:
        """Read the saliency map of a sequence: HxW float32 in [0, 1], of the reference's size."""
        saliency = read_image(self._path("saliency", sequence))[..., 0].astype(np.float32) / 255
        with Image.open(self._path("reference", sequence)) as picture:
            width, height = picture.size
        return resize_map(saliency, (height, width))

    def _path(self, folder: str, sequence: str) -> Path:
        if sequence not in self.sequences:
            raise KeyError(f"{self.root} has no sequence {sequence!r}")
        return self.root / folder / f"{sequence}.png"


def read_scores(path: Path = PUBLISHED_SCORES) -> pd.DataFrame:
    """Read subjective scores in SACID's format; the published ones by default.

    Returns
    -------
    DataFrame
        sequence, test_case, subjective_score, preset, bpp (the target), in the order of the file.

    Raises
    ------
    ValueError
        If a column is missing, a sequence has not each of the twelve test cases once, or a score
        is no finite number; the message names the file and the sequence.
    """
    columns = ["sequence", "test_case", "subjective_score"]
    scores = pd.read_csv(path, dtype={"sequence": str})
    if list(scores) != columns:
        raise ValueError(f"{path}: the columns must be {', '.join(columns)}")
    for sequence, cases in scores.groupby("sequence").test_case:
        if sorted(cases.astype(str)) != sorted(TEST_CASES):
            odd = set(cases) - set(TEST_CASES) or set(cases[cases.duplicated()])
            odd = odd or set(TEST_CASES) - set(cases)
            raise ValueError(
                f"{path}: {sequence} must have each of the {len(TEST_CASES)} test cases once; "
                f"look at {min(odd, key=str)}, or download the file again"
            )
    numbers = pd.to_numeric(scores.subjective_score, errors="coerce")
    if not np.isfinite(numbers).all():
        row = scores[~np.isfinite(numbers)].iloc[0]
        raise ValueError(
            f"{path}: no finite score for {row.sequence} {row.test_case}; mend its row"
        )
    return add_conditions(scores.assign(subjective_score=numbers))


def add_conditions(scores: pd.DataFrame) -> pd.DataFrame:
    """Add the columns preset and bpp (the target bits per pixel), read off `test_case`."""
    parts = scores.test_case.str.extract(r"=(?P<bpp>\d+)_preset=(?P<preset>\w+)")
    return scores.assign(preset=parts.preset, bpp=parts.bpp.astype(int) / 100)


def _read_table(root: Path) -> pd.DataFrame:
    """Return sequence, test_case, score of a tree, sequences sorted, test cases as published."""
    if not (root / "compressed").is_dir():
        raise FileNotFoundError(
            f"no SACID at {root} (it has no folder compressed/); run `make data PROFILE=open`, or "
            "point DATA_DIR at the folder that holds sacid/"
        )
    columns = ["sequence", "test_case", "score"]
    if (path := root / "moses.csv").is_file():
        table = read_scores(path).rename(columns={"subjective_score": "score"})
    elif (path := root / "manifest.csv").is_file():
        table = pd.read_csv(path, dtype={"sequence": str})[columns[:2]].assign(score=np.nan)
    else:
        folders = sorted(p.name for p in (root / "compressed").iterdir() if p.is_dir())
        rows = [(sequence, case, np.nan) for sequence in folders for case in TEST_CASES]
        table = pd.DataFrame(rows, columns=columns)
    if table.empty:
        raise ValueError(f"{root} holds no test case; download or build it again")
    place = table.test_case.map({case: n for n, case in enumerate(TEST_CASES)})
    table = table.assign(place=place).sort_values(["sequence", "place"], kind="stable")
    return table[columns].reset_index(drop=True)


def open(root: Path, **options: object) -> SACID:
    """Open SACID in the folder `root`."""
    return SACID(root, **options)


# --- the builder ------------------------------------------------------------------------------


class Folder(Dataset):
    """The pictures of a folder, by file name without its ending."""

    kind = "pictures of a folder"

    def __init__(self, root: Path):
        self.name = Path(root).name
        paths = sorted(p for p in Path(root).glob("*") if p.suffix.lower() in PICTURES)
        if not paths:
            raise FileNotFoundError(f"no picture in {root} ({', '.join(sorted(PICTURES))})")
        self._paths, self.names = paths, [p.stem for p in paths]
        self.fingerprint = fingerprint(["folder"] + [(p.name, p.stat().st_size) for p in paths])

    def __getitem__(self, index: int) -> Record:
        return Record(self.names[index], read_image(self._paths[index]))


def build(
    references: Path | str | Dataset,
    root: Path | str,
    saliency: Predictor | None = None,
    bitrates: Sequence[float] = BITRATES,
    presets: Sequence[str] = tuple(codec.PRESETS),
    equalize: bool = True,
    jobs: int = 1,
) -> pd.DataFrame:
    """Code every reference at every bitrate and preset, and lay the files out as SACID does.

    A sequence that is complete, made by this code from this picture and this map, and whose files
    still have their hashes, is not made again. Whatever else is there is overwritten. Files appear
    whole or not at all; the manifest comes last.

    Parameters
    ----------
    references : Path or Dataset
        A folder of pictures, or records; a sequence is named after the file or the record, without
        the ending.
    root : Path
        Folder to write to.
    saliency : callable, optional
        From a picture (HxWx3 uint8) to its map (HxW, non-negative). By default the project's own
        predictor. The codec sees the map as it is saved, with a peak of 255 in 8 bits.
    bitrates : sequence of float
        Bits per pixel, whole hundredths.
    presets : sequence of str
        Of `lib.codec.PRESETS`.
    equalize : bool
        As in `lib.codec.Codec`.
    jobs : int
        Worker processes (see `lib.cluster.run_all`).

    Returns
    -------
    DataFrame
        The manifest: sequence, test_case, preset, target_bpp, bpp, qp, encodes, share (modelled
        share of bits in salient macroblocks) and clipped_share (the same after QPs are clipped),
        reachable, reason, bytes (of the coded picture, see `lib.codec`), and the sha256 of the
        three files.

    Raises
    ------
    FileNotFoundError
        If the folder holds no picture, or the predictor's weights are missing.
    ValueError
        If names repeat or can't be a folder's, a bitrate has no file name, a preset is unknown, a
        map does not fit its picture, or `root` holds something else.
    """
    dataset = references if isinstance(references, Dataset) else Folder(Path(references))
    root = Path(root)
    sequences = [Path(n).stem if Path(n).suffix.lower() in PICTURES else n for n in dataset.names]
    for name in sequences:
        if not name or Path(name).name != name or name[0] == "." or sequences.count(name) > 1:
            raise ValueError(f"{name!r} can't name a sequence: a part of a path, or twice there")
    if unknown := set(presets) - set(codec.PRESETS):
        raise ValueError(f"unknown presets: {sorted(unknown)}")
    if any(bpp <= 0 or abs(100 * bpp - round(100 * bpp)) > 1e-9 for bpp in bitrates):
        raise ValueError(f"bitrates must be whole hundredths of a bit, not {tuple(bitrates)}")
    _check_root(root, sequences)
    cases = [(bpp, preset) for bpp in bitrates for preset in presets]
    tasks = [
        (dataset, index, sequence, root, saliency, cases, equalize)
        for index, sequence in enumerate(sequences)
    ]
    parts = run_all(_build_sequence, tasks, jobs, "coding", "photograph")
    manifest = pd.DataFrame([row for part in parts for row in part])
    write_atomically(
        root / "manifest.csv",
        lambda path: manifest.to_csv(path, index=False, lineterminator="\n"),
    )
    return manifest


def _check_root(root: Path, sequences: Sequence[str]) -> None:
    """Refuse a folder that holds other things; remove what a killed run left half-written."""
    if (root / "moses.csv").exists():
        raise ValueError(f"{root} holds the published SACID; build into another folder")
    folders = root / "compressed"
    present = {p.name for p in folders.glob("*") if p.is_dir()}
    if others := present - set(sequences):
        raise ValueError(
            f"{root} holds sequences that are not among the references, {min(others)!r} first; "
            "remove them, or build into another folder"
        )
    for folder in ("reference", "saliency", "compressed", PARTS):
        for path in (root / folder).rglob(".*"):
            if LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _build_sequence(
    dataset: Dataset,
    index: int,
    sequence: str,
    root: Path,
    saliency: Predictor | None,
    cases: Sequence[tuple[float, str]],
    equalize: bool,
) -> list[dict[str, object]]:
    """Make the files of one sequence, or find them made; return its rows of the manifest."""
    image = dataset[index].image
    try:
        levels = _eight_bits((saliency or _own_predictor())(image), image.shape[:2])
    except ValueError as error:
        raise ValueError(f"{sequence}: {error}") from error
    decided = [codec.VERSION, av.__version__, PIL.__version__]
    decided += [image.shape, image.tobytes(), levels.tobytes(), cases, equalize]
    part, key = root / PARTS / f"{sequence}.json", fingerprint(decided)
    if (rows := _finished(part, key, root)) is not None:
        return rows
    reference = _save(root / "reference" / f"{sequence}.png", image)
    saved_map = _save(root / "saliency" / f"{sequence}.png", levels)
    coder, rows = codec.Codec(image, levels, equalize), []
    for bpp, preset in cases:
        case = f"h264v@targetbbp100={round(100 * bpp)}_preset={preset}"
        coded = coder.encode(preset, bpp)
        rows.append(
            {
                "sequence": sequence,
                "test_case": case,
                "preset": preset,
                "target_bpp": bpp,
                "bpp": round(coded.bpp, 6),
                "qp": round(coded.qp, 4),
                "encodes": coded.encodes,
                "share": round(coded.offsets.share, 4),
                "clipped_share": round(coded.share, 4),
                "reachable": coded.reachable,
                "reason": coded.reason,
                "bytes": len(coded.data),
                "sha256": _save(root / "compressed" / sequence / f"{case}.jpg", coded.image),
                "reference_sha256": reference,
                "saliency_sha256": saved_map,
            }
        )
    content = json.dumps({"key": key, "rows": rows})
    write_atomically(part, lambda path: path.write_text(content, encoding="utf-8"))
    return rows


def _finished(part: Path, key: str, root: Path) -> list[dict[str, object]] | None:
    """Return the rows of a finished sequence, or None if anything of it is not as it was."""
    try:
        found = json.loads(part.read_text(encoding="utf-8"))
        if found["key"] != key:
            return None
        for row in found["rows"]:
            name = row["sequence"]
            for path, column in (
                (f"reference/{name}.png", "reference_sha256"),
                (f"saliency/{name}.png", "saliency_sha256"),
                (f"compressed/{name}/{row['test_case']}.jpg", "sha256"),
            ):
                if hashlib.sha256((root / path).read_bytes()).hexdigest() != row[column]:
                    return None
        return found["rows"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # not there, or damaged
        return None


def _save(path: Path, pixels: np.ndarray) -> str:
    """Write a picture as PNG or JPEG, after the name's ending; return its sha256."""
    buffer = io.BytesIO()
    if path.suffix == ".jpg":
        Image.fromarray(pixels).save(buffer, "JPEG", **JPEG)
    else:
        Image.fromarray(pixels).save(buffer, "PNG")
    content = buffer.getvalue()
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return hashlib.sha256(content).hexdigest()


def _eight_bits(saliency_map: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Scale a map to a peak of 255: HxW uint8."""
    saliency_map = check_maps(saliency_map, "the saliency map")
    if saliency_map.shape != shape:
        raise ValueError(f"the saliency map is {saliency_map.shape} and the picture {shape}")
    peak = float(saliency_map.max())
    return np.rint(saliency_map / (peak or 1.0) * 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _own_predictor() -> Predictor:
    """Load the project's saliency predictor, once a process."""
    from lib.models import saliency, weights_path  # seconds to import, and only needed here

    return saliency.SaliencyPredictor(saliency.load_readout(weights_path("saliency-lite0")))


# --- what a tree holds ------------------------------------------------------------------------


def quality_by_region(sacid: SACID, share: float = 0.25) -> pd.DataFrame:
    """Measure every compressed picture inside and outside the most salient part of its reference.

    Parameters
    ----------
    sacid : SACID
        A tree with its references and the maps that the codec was given.
    share : float
        Share of the pixels that counts as most salient.

    Returns
    -------
    DataFrame
        sequence, test_case, preset, bpp (the target), and PSNR in dB over RGB: whole, inside,
        outside.
    """
    rows = []
    for sequence, block in sacid.table.reset_index().groupby("sequence", sort=False):
        reference = sacid.reference(sequence)
        salient = codec.most_salient(sacid.saliency_map(sequence), share)
        for index, case in zip(block["index"], block.test_case, strict=True):
            image = sacid[index].image
            regions = (None, salient, ~salient)
            rows.append((sequence, case, *(codec.psnr(reference, image, r) for r in regions)))
    columns = ["sequence", "test_case", "whole", "inside", "outside"]
    return add_conditions(pd.DataFrame(rows, columns=columns))


def rate_summary(manifest: pd.DataFrame) -> pd.DataFrame:
    """Say how well a manifest's encodes met their targets, a row a preset and target.

    Returns
    -------
    DataFrame
        preset, target_bpp, encodes (mean number), met (of n), worst (largest deviation, percent,
        among those met), share (mean modelled share of bits in salient macroblocks), clipped_share
        (the same after QPs are clipped to 51), n.
    """
    rows = []
    for (preset, target), block in manifest.groupby(["preset", "target_bpp"], sort=False):
        worst = 100 * (block.bpp[block.reachable] / target - 1).abs().max()
        shares = block[["share", "clipped_share"]].mean()
        met = int(block.reachable.sum())
        rows.append((preset, target, block.encodes.mean(), met, worst, *shares, len(block)))
    columns = ["preset", "target_bpp", "encodes", "met", "worst", "share", "clipped_share", "n"]
    return pd.DataFrame(rows, columns=columns)


def region_gains(quality: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Hold `quality_by_region` of each saliency-aware preset against the plain codec's.

    Returns
    -------
    DataFrame
        preset, bpp, region (inside, outside, whole), gain (dB, mean over sequences), low, high
        (95 % bootstrap over sequences), up (sequences with a gain above 0), n.
    """
    wide = quality.melt(
        ["sequence", "preset", "bpp"], ["inside", "outside", "whole"], "region", "psnr"
    )
    wide = wide.pivot(index=["sequence", "bpp", "region"], columns="preset", values="psnr")
    gains = wide.drop(columns="none").sub(wide["none"], axis=0)
    rows = []
    for (bpp, region), block in gains.groupby(level=["bpp", "region"]):
        for preset, gain in block.items():
            low, high = bootstrap_interval(gain.to_numpy(), seed=seed)
            up = int((gain > 0).sum())
            rows.append((preset, bpp, region, gain.mean(), low, high, up, len(gain)))
    columns = ["preset", "bpp", "region", "gain", "low", "high", "up", "n"]
    return pd.DataFrame(rows, columns=columns).sort_values(["preset", "bpp", "region"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: lay a folder of pictures out as SACID."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.data.sacid",
        description="Code every picture of a folder at every bitrate and preset, with the "
        "project's saliency predictor, in SACID's layout. A killed run goes on where it was.",
    )
    parser.add_argument("pictures", type=Path, help="folder of pictures, of any kind and size")
    parser.add_argument("root", type=Path, help="folder to write to")
    parser.add_argument(
        "--bitrates", type=float, nargs="+", default=BITRATES, help="bits per pixel (%(default)s)"
    )
    parser.add_argument(
        "--presets", nargs="+", default=list(codec.PRESETS), choices=list(codec.PRESETS)
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes; -1: one a core")
    options = parser.parse_args(arguments)
    try:
        manifest = build(
            options.pictures,
            options.root,
            bitrates=options.bitrates,
            presets=options.presets,
            jobs=options.jobs,
        )
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(manifest)} pictures of {manifest.sequence.nunique()} sequences in {options.root}")
    for row in manifest[~manifest.reachable].itertuples():
        print(f"missed {row.target_bpp} bpp: {row.sequence} {row.preset}: {row.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
