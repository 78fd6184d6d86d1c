"""What a profile costs before it is run: ``python -m benchmarks.plan --profile paper``.

Unit costs are measured now, on this machine, with random weights; counts come from the profile's
parameters. Disk is what the run writes; what is downloaded stands beside it as its sources say.
"""

import argparse
import ast
import math
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import torch
from PIL import Image
from skimage.data import coffee

from benchmarks.masking_cost import peak_mib
from lib import data, iqa, x264
from lib.__main__ import NEEDED
from lib.cam import extract_cam
from lib.images import network_size, read_image, resize_image
from lib.losses import Recipe
from lib.maps import fixation_density
from lib.metrics import score_map
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.models.msinet import MSINet
from lib.models.published import LONG_SIDE
from lib.models.transalnet import TranSalNet
from lib.paths import ROOT
from lib.records import Record
from lib.report import markdown, require
from lib.run import parameters
from lib.training import MAP_STRIDE, Run

# Published counts, and the size of a picture (height, width); lib/data/<name>.py has the sources.
PICTURES = {"osie": (700, (600, 800)), "scene": (500, (256, 256)), "cat2000": (2000, (1080, 1920))}
PICTURES |= {"salicon": (5000, (480, 640)), "koniq": (10_073, (768, 1024))}
PICTURES |= {"clive": (1162, (500, 500)), "sacid-references": (60, (1365, 2048))}
PICTURES |= {"sacid": (720, (1365, 2048)), "biq2021": (10_000, (512, 512))}
PARTS = {("koniq", "test"): 2015, ("biq2021", "test"): 2000, ("salicon", "train"): 10_000}
SAMPLE = (480, 640)  # about the size of the sample's photographs
METHODS = 4  # of Table I beside those that a profile names: trunk, untrained twice, residual


def seconds(work: Callable[[], object], repeats: int = 2) -> float:
    """Time the fastest of some calls, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def count(name: str, options: dict, limit: int | None = None) -> int:
    """Say how many pictures a data set has, of which a run takes `limit` at most."""
    if name.startswith(("sample", "simulated")):
        whole = len(data.load(name)) if name.startswith("sample") else 96
    else:
        require(name in PICTURES, f"no size of {name!r} is known; add it to benchmarks/plan.py")
        whole = PARTS.get((name, options.get("split")), PICTURES[name][0])
    return min(whole, limit or whole)


def size(name: str, options: dict) -> tuple[int, int]:
    """Height and width at which pictures of a data set are read."""
    height, width = PICTURES.get(name, (0, SAMPLE))[1]
    scale = options.get("long_side", width) / width
    return round(height * scale), round(width * scale)


def measure(p: dict[str, dict]) -> dict[str, float]:
    """Measure the unit costs of a profile: seconds, and "memory" in MiB."""
    shape, device = size(p["01"]["DATASET"], p["01"]["DATASET_OPTIONS"]), best_device()
    picture = resize_image(coffee(), *shape)

    def cam(trunk: str, long_side: int, batch: int) -> float:
        model = Baseline(trunk, "random").to(device)
        pixels = resize_image(coffee(), *network_size(shape, long_side))
        x = model.normalize(np.stack([pixels] * batch))
        return seconds(lambda: extract_cam(model, x, model.last_layer)) / batch

    found = {"CAM of ours": cam(p["03"]["BACKBONE"], p["01"]["INPUT_LONG_SIDE"], 8)}
    if p["01"]["PUBLISHED_MODELS"]:  # as if each were a ResNet-50
        found["CAM of people's"] = cam("resnet50", LONG_SIDE, 2)
    for name, build in {"MSI-Net": MSINet, "TranSalNet": lambda: TranSalNet("res")}.items():
        if p["01"]["PREDICTORS"]:
            network = build().to(device)
            found[name] = seconds(lambda network=network: network.predict(picture), 1)
    found |= _passes(p, device)
    fixations = np.random.default_rng(0).uniform(0, shape, (40, 2))[:, ::-1]
    record = Record("", picture, fixations, fixation_density(fixations, shape, 12.0))
    found["map scored"] = seconds(lambda: score_map(record.density[::-1], record))
    coded = resize_image(coffee(), *size(p["04"]["REFERENCES"], {}))
    found["picture coded"] = seconds(lambda: x264.encode(coded, 0.12), 1)
    scored = resize_image(coffee(), *size(p["05"]["DATASET"], {}))
    weights = np.ones(scored.shape[:2], np.float32)
    offline = [n for n, entry in iqa.REGISTRY.items() if "download" not in entry.weights]
    metrics = [iqa.metric(name) for name in offline]
    each = lambda: [metric(scored[None], scored, weights) for metric in metrics]  # noqa: E731
    return found | {"picture scored": seconds(each, 1)}


def _passes(p: dict[str, dict], device: torch.device) -> dict[str, float]:
    """Measure a pass, a training step with its memory, and the reading of a photograph."""
    start = Baseline(p["03"]["BACKBONE"], "random").to(device)
    names = [field.name for field in fields(Recipe) if field.name.upper() in p["03"]]
    recipe = Recipe(**{name: p["03"][name.upper()] for name in names})
    batch, crop, cells = recipe.batch_size, recipe.crop_size, recipe.crop_size // MAP_STRIDE
    small = resize_image(coffee(), *network_size(SAMPLE, p["02"]["LONG_SIDE"]))
    masked = start.normalize(np.stack([small] * 16))
    with torch.inference_mode():
        found = {"masked picture": seconds(lambda: start(masked)) / 16}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(start, recipe, 100, Path(folder) / "last.pt", "plan")
        pixels = torch.from_numpy(np.stack([resize_image(coffee(), crop, crop)] * batch))
        lesson = pixels, torch.rand(batch), torch.rand(batch, cells, cells)
        found["training step"] = seconds(lambda: run.step(lesson, 0), 1)
        gpu = torch.cuda.is_available()
        found["memory"] = torch.cuda.max_memory_allocated() / 2**20 if gpu else peak_mib()
        path = Path(folder) / "a.jpg"
        Image.fromarray(resize_image(coffee(), *size(p["03"]["QUALITY"], {}))).save(path)
        side = recipe.image_size
        found["photograph read"] = seconds(lambda: resize_image(read_image(path), side, side))
    return found


def work(p: dict[str, dict]) -> list[tuple[str, str, int, float]]:
    """List (notebook, unit, how many, into how many parts it can be divided)."""
    one, two, three = p["01"], p["02"], p["03"]
    images = count(one["DATASET"], one["DATASET_OPTIONS"], one["IMAGES"])
    few = min(images, one["ABLATION_IMAGES"])
    published, networks = len(one["PUBLISHED_MODELS"]), one["PREDICTORS"]
    ours = len(one["IQA_MODELS"]) + len(one["CONTROL_MODELS"]) + 2  # the trunk twice
    maps = ours + published + len(networks) + 5  # noise, residual, our predictor, two dummies
    rows = [("01", "CAM of ours", images * ours + few * 9, math.inf)]
    rows += [("01", "CAM of people's", images * published + few * 3 * published, math.inf)]
    rows += [("01", *row) for row in _foretold(networks, images)]
    rows += [("01", "map scored", 2 * images * maps + 2 * few * (11 + 3 * published), 1)]
    masked = len(two["FILLS"]) * (2 * len([t for t in two["TWELFTHS"] if 0 < t < 12]) + 1) + 1
    asked = two["IMAGES"] * (5 * masked + 13) + two["GAZE_IMAGES"] * (6 * masked + 13)
    rows += [("02", "masked picture", len(two["MODELS"]) * asked, math.inf)]
    rows += [("02", "CAM of ours", len(two["MODELS"]) * two["IMAGES"], math.inf)]
    photographs = count(three["QUALITY"], three["QUALITY_OPTIONS"])
    trainings = 3 * (three["REPEATS"] + len(three["TRANSFERS"]))
    steps = three["EPOCHS"] * (photographs * 4 // 5 // three["BATCH_SIZE"])
    rows += [("03", "training step", trainings * steps, trainings)]
    rows += [("03", "photograph read", photographs, 1)]
    if three["PROXIES"] in ("msi-net", "predictor"):
        unit = "MSI-Net" if three["PROXIES"] == "msi-net" else "CAM of ours"
        rows += [("03", unit, photographs, math.inf)]
    sets = [(three["GAZE"], three["GAZE_OPTIONS"]), *((n, {}) for n in three["OTHER_GAZE"])]
    for name, options in sets:
        looked = count(name, options)
        rows += [("03", "CAM of ours", 2 * looked, math.inf)]  # one explained; passes are as one
        rows += [("03", *row) for row in _foretold(three["PREDICTORS"], looked)]
        rows += [("03", "map scored", 2 * looked * (7 + len(three["PREDICTORS"])), 1)]
    coded = count(p["04"]["REFERENCES"], p["04"]["REFERENCE_OPTIONS"], p["04"]["IMAGES"])
    rows += [("04", "picture coded", 12 * coded, math.inf)]
    rows += [("05", "picture scored", count(p["05"]["DATASET"], {}), math.inf)]
    return [row for row in rows if row[2]]


def _foretold(networks: list[str], images: int) -> list[tuple[str, int, float]]:
    names = ["MSI-Net" if name == "msi-net" else "TranSalNet" for name in networks]
    return [(name, images * names.count(name), math.inf) for name in sorted({*names})]


def disk(p: dict[str, dict]) -> dict[str, float]:
    """Bytes that each notebook leaves in the cache: maps, resized photographs, proxies."""
    one, three = p["01"], p["03"]
    height, width = size(one["DATASET"], one["DATASET_OPTIONS"])
    images = count(one["DATASET"], one["DATASET_OPTIONS"], one["IMAGES"])
    methods = METHODS + 1 + len(one["IQA_MODELS"] + one["CONTROL_MODELS"])
    methods += len(one["PUBLISHED_MODELS"] + one["PREDICTORS"])
    found = {"01": images * methods * height * width * 2, "02": 0.0, "04": 0.0, "05": 0.0}
    photographs = count(three["QUALITY"], three["QUALITY_OPTIONS"])
    judged = photographs + sum(count(name, {}) for name in three["OTHER_QUALITY"])
    found["03"] = judged * three["IMAGE_SIZE"] ** 2 * 3
    found["03"] += photographs * (three["IMAGE_SIZE"] // MAP_STRIDE) ** 2 * 4
    for name, options in [(three["GAZE"], three["GAZE_OPTIONS"])] + [
        (name, {}) for name in three["OTHER_GAZE"]
    ]:
        found["03"] += count(name, options) * 5 * math.prod(size(name, options)) * 2
    return found


def table(p: dict[str, dict], unit: dict[str, float], gpus: int = 8) -> pd.DataFrame:
    """Hours and gigabytes of each notebook, on one device and on `gpus`, and in all."""
    rows, written = [], disk(p)
    for number in sorted(written):
        parts = [row[1:] for row in work(p) if row[0] == number]
        alone = sum(unit[name] * times for name, times, _ in parts)
        spread = sum(unit[name] * times * share(into, gpus) for name, times, into in parts)
        rows.append((number, alone / 3600, spread / 3600, written[number] / 1e9))
    rows.append(("all", *np.sum([row[1:] for row in rows], axis=0)))
    return pd.DataFrame(rows, columns=["notebook", "hours", f"hours on {gpus} GPUs", "cache, GB"])


def share(parts: float, gpus: int) -> float:
    """Share of the time that work in so many parts takes on several GPUs: none is cut in two."""
    return 1 / gpus if math.isinf(parts) else math.ceil(parts / gpus) / parts


def read(profile: str) -> dict[str, dict]:
    """Parameters of notebooks 01 to 05: the profile's over their own."""
    found = {}
    for notebook in sorted((ROOT / "notebooks").glob("0[1-5]_*.ipynb")):
        declared = papermill.inspect_notebook(str(notebook))
        own = {name: ast.literal_eval(one["default"]) for name, one in declared.items()}
        found[notebook.name[:2]] = own | parameters(notebook, profile)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, multiply and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=__doc__)
    parser.add_argument("--profile", default="sample", help="sample, or a file of profiles/")
    profile = parser.parse_args(arguments).profile
    p = read(profile)
    unit = measure(p)
    memory, device = unit.pop("memory"), best_device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    print(f"The {profile} profile on this machine ({name}, torch {torch.__version__}):\n")
    print(markdown(table(p, unit), 2), "\n")
    kind = "GPU memory" if device.type == "cuda" else "memory of this process; no GPU here"
    print(f"Training takes {memory:,.0f} MiB ({kind}).")
    print(
        "On 8 GPUs: if independent trainings and images are spread, one process a GPU (each with\n"
        "its own CUDA_VISIBLE_DEVICES and one cache); the code does not spread them by itself.\n"
        "Not counted: the start of kernels, cells by hand, metrics whose weights are downloaded.\n"
    )
    for name in NEEDED.get(profile, ()):
        source = import_module(f"lib.data.{name}").SOURCE
        for part, one in source.items() if isinstance(source, dict) else [("", source)]:
            print(f"download: {name} {part}: {one.about}")
    costs = pd.Series(unit, name="seconds").rename_axis("unit").reset_index()
    print(f"\nUnit costs, measured just now:\n\n{markdown(costs, 4)}")


if __name__ == "__main__":
    main()
