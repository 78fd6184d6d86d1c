"""The paper's data sets as small trees in the true layout."""

import zlib

import numpy as np
from PIL import Image
from scipy.io import savemat

from lib.data import clive, koniq

RNG = np.random.default_rng(0)
ROWS, COLUMNS = np.mgrid[40:480:160, 40:640:160]
GRID = np.column_stack([COLUMNS.ravel(), ROWS.ravel()])  # twelve places to look at, from 1
NOBODY = np.empty((0, 0))  # what a viewer who never stopped leaves
SALICON_NUMBERS = {"train": ["000000000009"], "val": ["000000000133", "000000000042"]}
KONIQ = [("b.jpg", 77.4, "train"), ("a.jpg", 3.9, "test"), ("c.jpg", 50.0, "train")]
CLIVE = [*(f"t{n}.bmp" for n in range(1, 8)), "100.bmp", "1000.JPG"]  # the head of the true table
CAT2000 = ("Action/002", "Action/010", "Satelite/001")


def picture(path, size, cells=32):
    """Noise that differs from name to name; the fewer cells, the smoother."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
    pixels = rng.integers(0, 256, (cells, cells, 3))
    Image.fromarray(pixels.astype(np.uint8)).resize(size).save(path)


def salicon_mat(path, people):
    """Write gaze as SALICON 2017 has it: an N x 1 struct array, integers where they fit."""
    gaze = np.zeros((len(people), 1), [(n, "O") for n in ("location", "timestamp", "fixations")])
    for row, fixations in zip(gaze[:, 0], people, strict=True):
        row["location"], row["timestamp"] = RNG.uniform(1, 480, (90, 2)), np.arange(90.0)[:, None]
        row["fixations"] = np.asarray(fixations, np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"image": path.stem, "resolution": [[480, 640]], "gaze": gaze}
    savemat(path, content, do_compression=True)


def write_salicon(root, people=(GRID, GRID[:1], NOBODY), numbers=SALICON_NUMBERS, size=(640, 480)):
    for split, each in numbers.items():
        for number in each:
            name = f"{split}/COCO_{split}2014_{number}"
            picture(root / "images" / f"{name}.jpg", size)
            salicon_mat(root / "fixations" / f"{name}.mat", people)
    picture(root / "images" / "test" / "COCO_test2014_000000000001.jpg", size)


def write_cat2000(
    root, places=((1919, 1079), (0, 0), *(40 + 3 * GRID % 1000)), names=CAT2000, size=(1920, 1080)
):
    locations = np.zeros(size[::-1], np.uint8)
    for x, y in places:
        locations[y, x] = 1
    for name in names:
        picture(root / "Stimuli" / f"{name}.jpg", size)
        mat = root / "FIXATIONLOCS" / f"{name}.mat"
        mat.parent.mkdir(parents=True, exist_ok=True)
        savemat(mat, {"fixLocs": locations}, do_compression=True)
    for name in ("Action/Output/002.jpg", "Action/Output/002_SaliencyMap.jpg", "Output/002.jpg"):
        picture(root / "Stimuli" / name, (192, 108))


def write_koniq(root, rows=KONIQ, header="img_name,mos,official_split", sizes=koniq.SIZES):
    lines = [header] + [",".join(map(str, row)) for row in rows]
    (root / koniq.META).parent.mkdir(parents=True, exist_ok=True)
    (root / koniq.META).write_text("\n".join(lines) + "\n")
    for side, size in sizes.items():
        for name, *_ in rows:
            picture(root / "koniq10k" / side / name, size)


def write_clive(root, folder="", names=CLIVE, size=(500, 500)):
    lines = ["img_name,mos,std"]
    for number, name in enumerate(names):
        place = f"trainingImages/{name}" if name.startswith("t") else name
        picture(root / "LIVEC" / "Images" / place, size)
        lines.append(f"{f'{folder}{place}' if folder else name},{number + 3.42},19.1")
    (root / clive.META).parent.mkdir(parents=True, exist_ok=True)
    (root / clive.META).write_text("\n".join(lines) + "\n")


WRITE = {"salicon": write_salicon, "cat2000": write_cat2000}
WRITE |= {"koniq": write_koniq, "clive": write_clive}
