"""What a profile costs before it is run: ``python -m benchmarks.plan --profile paper``.

Counts come from the profile's parameters, seconds from unit costs that are measured in this very
run, on this machine, with random weights: nothing is downloaded. How much that leaves out, the last
lines of the output say.
"""

import argparse
import ast
import math
import os
import platform
from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import numpy as np
import pandas as pd
import papermill
import torch

from benchmarks.masking_cost import peak_mib
from benchmarks.training_cost import frozen_features
from benchmarks.unit_costs import OFFLINE, Cost, Unit, measure
from lib import data, iqa
from lib.codec import TEST_CASES
from lib.dual_task import GRID, HELD_OUT, VARIANTS
from lib.images import network_size
from lib.models.baseline import Baseline
from lib.models.published import PUBLISHED
from lib.models.saliency import LONG_SIDE, NAME, TRUNK
from lib.paths import ROOT
from lib.report import markdown, require
from lib.run import parameters
from lib.weights import TRAINED

# Published counts by split and (height, width); lib/data/<name>.py cites the publications.
PICTURES = {
    "salicon": ({"train": 10_000, "val": 5_000}, (480, 640)),
    "cat2000": ({None: 2_000}, (1080, 1920)),
    "osie": ({None: 700}, (600, 800)),
    "scene": ({None: 500}, (256, 256)),  # two thirds of them; the rest are larger
    "koniq": ({None: 10_073, "train": 7_058, "val": 1_000, "test": 2_015}, (768, 1024)),
    "clive": ({None: 1_162}, (500, 500)),
    "biq2021": ({None: 12_000, "train": 10_000, "test": 2_000}, (512, 512)),
    "sacid": ({None: 720}, (1356, 2040)),
    "sacid-references": ({None: 60}, (1356, 2040)),
}
SAMPLES = {"sample-saliency": (480, 640), "sample-quality": (288, 384)}  # about
SACID_MB, SACID_PHOTOGRAPHS = 770, 60  # as published, at PICTURES' size
PEOPLE = 60  # photographs of SACID's published scores, on which 04 and 05 simulate studies
COLD_SECONDS = {"01": 35, "02": 153, "03": 53, "04": 25, "05": 76}  # `sample`, two idle cores
GPUS = 8
Parameters = Mapping[str, object]


class Pictures(NamedTuple):
    """How many pictures a notebook takes of a data set, and their size in pixels."""

    count: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def seen(self, long_side: int) -> tuple[int, int]:
        """Height and width at which a network sees them."""
        return network_size(self.size, long_side)


class Work(NamedTuple):
    """So many units of one kind, in `parts` that need nothing of each other: 1 is serial."""

    unit: Unit
    times: int
    parts: int = 1

    def seconds(self, each: float, devices: int) -> float:
        """Time on so many devices, none of which shares a part with another."""
        return self.times * each * math.ceil(self.parts / devices) / self.parts


def pictures(name: str, options: Parameters | None = None, limit: int | None = None) -> Pictures:
    """Count the pictures of a data set, `limit` at most; ValueError for one not in the table."""
    options, parts = options or {}, 1
    if name == "simulated-sacid":
        name, limit = options.get("references", "sample-saliency"), options.get("images")
        options, parts = options.get("options") or {}, len(TEST_CASES)
    if name in SAMPLES:
        whole, (height, width) = len(data.load(name)), SAMPLES[name]
    else:
        known = ", ".join([*SAMPLES, *PICTURES])
        require(name in PICTURES, f"the size of data set {name!r} is not known; known: {known}")
        counts, (height, width) = PICTURES[name]
        split = options.get("split", "val" if name == "salicon" else None)
        require(split in counts, f"{name} has no part {split!r}; there are {[*counts]}")
        whole = counts[split]
    scale = min(1, (options.get("long_side") or width) / width)  # no loader enlarges
    count = parts * min(whole, limit or whole)
    return Pictures(count, round(height * scale), round(width * scale))


def read(profile: str) -> dict[str, dict]:
    """Parameters of notebooks 01 to 05 by number: the profile's over the notebook's own."""
    found = {}
    for notebook in sorted((ROOT / "notebooks").glob("0[1-5]_*.ipynb")):
        declared = papermill.inspect_notebook(str(notebook)).items()
        own = {name: ast.literal_eval(one["default"]) for name, one in declared}
        found[notebook.name[:2]] = own | parameters(notebook, profile)
    return found


# -- counts: what each notebook does, and what it keeps ------------------------------------------


def foretold(name: str, images: Pictures, extra: int = 0) -> Work:
    """Map images by a saliency predictor, ours or a published one."""
    unit = ("read-out", *images.seen(LONG_SIDE)) if name == NAME else (name,)
    return Work(unit, images.count + extra, images.count)


def judged(images: Pictures, methods: int, folds: int, fit_images: int) -> list[Work]:
    """Score every method and two dummies, as `lib.evaluation.evaluate` does."""
    fitted = folds * min(fit_images, images.count - images.count // folds)
    return [
        Work(("map scored", *images.size), images.count * (methods + 2)),
        Work(("map fitted", *images.size), fitted * (methods + 2)),
        # Each method reads the images that it maps; densities are read to fit, and to score.
        Work(("image with fixations", *images.size), images.count * (methods + 1) + fitted),
    ]


def work_01(p: Parameters) -> list[Work]:
    """List what notebook 01 does: maps of every method, Table I, and the ablation."""
    images = pictures(p["DATASET"], p["DATASET_OPTIONS"], p["IMAGES"])
    shown, side = min(len(p["FIGURE_IMAGES"]), images.count), p["INPUT_LONG_SIDE"]
    ours, predictors = [*p["IQA_MODELS"], *p["CONTROL_MODELS"]], p.get("PREDICTORS", [])
    trunks = [TRAINED[name].backbone for name in ours] + [TRUNK]  # with an untrained head
    methods, rows = len(trunks) + 4 + len(predictors), []
    others = [pictures(*one) for one in p["OTHER_GAZE"].items()]
    for some, extra in [(images, shown), *((other, 0) for other in others)]:
        each = some.count + extra  # the figure computes its maps anew
        rows += [Work(("HiResCAM", t, *some.seen(side)), each, some.count) for t in trunks]
        # What a trunk looks at, trained and untrained: two passes each.
        rows += [Work(("pass", TRUNK, *some.seen(side)), 4 * each, some.count)]
        rows += [foretold(name, some, extra) for name in [NAME, *predictors]]
        rows += judged(some, methods, p["FOLDS"], p["FIT_IMAGES"])
    few = images._replace(count=min(images.count, p["ABLATION_IMAGES"]))
    # Nine variants: the paper's is there already, and a full SVD a view takes as long as the rest.
    variant = (trunks[0], *few.seen(side))
    rows += [Work(("HiResCAM", *variant), 7 * few.count, few.count)]
    rows += [Work(("HiResCAM, LAPACK's sign", *variant), few.count, few.count)]
    rows += judged(few, 9, p["FOLDS"], p["FIT_IMAGES"]) + judged(images, -1, p["FOLDS"], 200)
    return [*rows, Work(("panel",), shown * (methods + 3) + 30)]


def masked_with(name: str) -> str | None:
    """Say what scores masked pictures: a trunk, a metric without weights; None: not timed."""
    if name in TRAINED:
        return TRAINED[name].backbone
    return name if name in {metric.lower() for metric in OFFLINE} else None


def work_02(p: Parameters) -> list[Work]:
    """List what notebook 02 does: masked pictures of both questions, and resampled curves."""
    inside = len([t for t in p["TWELFTHS"] if 0 < t < 12])
    cells = len(p["FILLS"]) * (2 * inside + 1) + 1  # everything masked is one, nothing is one
    photographs = pictures(p["DATASET"], p["DATASET_OPTIONS"], p["IMAGES"])
    looked_at = pictures(p["GAZE_DATASET"], p["GAZE_OPTIONS"], p["GAZE_IMAGES"])
    scorers = [name for name in p["MODELS"] if masked_with(name)]
    side, predictor, rows, lines = p["LONG_SIDE"], p.get("PREDICTOR", NAME), [], 0
    for images, people in ((photographs, 0), (looked_at, 1)):
        n, where = images.count, images.seen(side)
        for name in scorers:
            ours = name in TRAINED  # only these have a GradCAM, and are asked about gaze
            if people and not ours:
                continue
            maps, scored = 4 + people + ours, masked_with(name)
            rows += [Work(("masked picture", scored, *where), n * (maps * cells + 13), n)]  # [13]
            rows += [Work(("order of pixels", *where), n * maps, n)]
            rows += [Work(("HiResCAM", scored, *images.seen(384)), n, n)] if ours else []
            lines += 0 if people else maps * 2 * len(p["FILLS"]) * len(p["TWELFTHS"])
        rows += [foretold(predictor, images)]
        rows += [Work(("image with fixations", *images.size), n * (1 + len(scorers)))]
    rows += [Work(("resample", lines, photographs.count), p["RESAMPLES"])]
    return [*rows, Work(("panel",), 4 * len(p["MODELS"]) * len(p["FILLS"]) + 30)]


def learned_from(p: Parameters) -> tuple[int, list[int]]:
    """Photographs that a repeat learns from, and that each network of a transfer does."""
    whole = pictures(p["QUALITY"], p["QUALITY_OPTIONS"]).count
    if p["QUALITY"] == p["GAZE"].replace("saliency", "quality"):  # the same photographs
        names = data.load(p["QUALITY"]).names
        others = [sum(not n.startswith(t) for n in names) for t in p["TRANSFERS"]]
        return whole - whole // p["REPEATS"], others
    parts = max(2, len(p["TRANSFERS"]))  # the sources are taken to be of one size
    return round(whole * (1 - HELD_OUT)), [whole - whole // parts for _ in p["TRANSFERS"]]


def work_03(p: Parameters) -> list[Work]:
    """List what notebook 03 does: three networks a split, their scores, and their maps."""
    trunk, batch, side = p["BACKBONE"], p["BATCH_SIZE"], p["IMAGE_SIZE"]
    whole = pictures(p["QUALITY"], p["QUALITY_OPTIONS"])
    repeat, transfers = learned_from(p)
    step = ("training step", trunk, p["CROP_SIZE"], batch, p["FROZEN_STAGES"])
    rows = []
    three = len(VARIANTS)
    trained = [(repeat, three * p["REPEATS"]), *((n, three) for n in transfers)]
    trained += [(round(0.8 * repeat), 2) for _ in p["WEIGHTS_TRIED"]]  # a fifth validates
    trained += [(repeat, 3)] * p["TRAP_REPEATS"]  # either trap, and both
    for photographs, networks in trained:
        steps = p["EPOCHS"] * max(1, photographs // batch)
        rows += [Work(step, networks * steps, networks)]
        score = networks * (whole.count - photographs)
        rows += [Work(("pass", trunk, side, side), score, networks)]
    rows += [Work(("photograph resized", *whole.size, side), whole.count)]
    if p["FROZEN_STAGES"]:  # part of a pass, for each photograph and its mirror image
        rows += [Work(("pass", trunk, side, side), 2 * whole.count, whole.count)]
    for name, options in p["OTHER_QUALITY"].items():
        other, networks = pictures(name, options), len(VARIANTS) * p["REPEATS"]
        rows += [Work(("photograph resized", *other.size, side), other.count)]
        rows += [Work(("pass", trunk, side, side), networks * other.count, networks)]
    if p["PROXIES"] != "observers":
        rows += [foretold(NAME if p["PROXIES"] == "predictor" else p["PROXIES"], whole)]
    predictors = [NAME, *p.get("PREDICTORS", [])]
    shown = len(p["FIGURE_IMAGES"])
    for images in gaze_sets(p):
        n, where = images.count, (trunk, *images.seen(p["INPUT_LONG_SIDE"]))
        rows += [Work(("HiResCAM", *where), n + shown, n), Work(("pass", *where), 3 * n, n)]
        rows += [foretold(name, images, shown) for name in predictors]
        rows += judged(images, 4 + len(predictors), p["REPEATS"], p["FIT_IMAGES"])
    return [*rows, Work(("panel",), shown * (6 + len(predictors)) + 20)]


def gaze_sets(p: Parameters) -> list[Pictures]:
    """Count the images with fixations of notebook 03."""
    others = [pictures(name, options) for name, options in p["OTHER_GAZE"].items()]
    return [pictures(p["GAZE"], p["GAZE_OPTIONS"]), *others]


def work_04(p: Parameters) -> list[Work]:
    """List what notebook 04 does: coded pictures, and four scorings a simulated study."""
    images = pictures(p["REFERENCES"], p["REFERENCE_OPTIONS"], p["IMAGES"])
    by_hand = 12  # about 35 runs of x264, three of which make a picture
    coded = len(TEST_CASES) * images.count + by_hand
    study = ("study", p["VOTES_PER_PAIR"])
    studies = images.count + 4 * p["STUDIES"] * PEOPLE
    rows = [Work(("picture coded", *images.size), coded), Work(study, studies)]
    return [*rows, foretold(NAME, images), Work(("panel",), 6 * len(p["EXAMPLES"]) + 30)]


def work_05(p: Parameters) -> list[Work]:
    """List what notebook 05 does: metrics of every picture, and studies of two ceilings."""
    images = pictures(p["DATASET"], p["DATASET_OPTIONS"])
    photographs = images.count // len(TEST_CASES)
    rows = [Work(("picture scored", *images.size), images.count, photographs)]
    rows += [Work(("EW-PSNR", *images.size), 7 * images.count)]
    rows += [Work(("study", p["VOTES_PER_PAIR"]), p["STUDIES"] * (PEOPLE + photographs))]
    return [*rows, Work(("panel",), 30)]


WORK = {"01": work_01, "02": work_02, "03": work_03, "04": work_04, "05": work_05}


def work(p: Mapping[str, Parameters]) -> dict[str, list[Work]]:
    """List what each notebook does, its kernel first."""
    return {number: [Work(("kernel",), 1), *WORK[number](p[number])] for number in WORK}


def cache(p: Mapping[str, Parameters]) -> dict[str, dict[str, int]]:
    """Bytes that each notebook leaves in the cache: float16 maps, uint8 pictures, float32 proxies.

    Two notebooks that need the same share it (the maps of one model on one data set): then it is
    counted twice.
    """
    one, two, three, four = (p[number] for number in ("01", "02", "03", "04"))
    images = pictures(one["DATASET"], one["DATASET_OPTIONS"], one["IMAGES"])
    published = one.get("PUBLISHED_MODELS", [])
    methods = len([*one["IQA_MODELS"], *one["CONTROL_MODELS"], *one.get("PREDICTORS", [])])
    few = min(images.count, one["ABLATION_IMAGES"])
    variants = 8 + sum(len(PUBLISHED[name].neighbours) for name in published)
    each = methods + len(published) + 5  # see `work_01`
    sets = [images, *(pictures(*other) for other in one["OTHER_GAZE"].items())]
    maps = sum(some.count * math.prod(some.size) for some in sets) * each
    maps += few * variants * math.prod(images.size)
    found = {"01": {"maps": maps * 2}, "05": {}}
    theirs = {row.metric for row in PUBLISHED.values()}
    explained = [name for name in two["MODELS"] if name in {*TRAINED} | theirs]
    photographs = pictures(two["DATASET"], two["DATASET_OPTIONS"], two["IMAGES"])
    looked_at = pictures(two["GAZE_DATASET"], two["GAZE_OPTIONS"], two["GAZE_IMAGES"])
    # Saliency, centre and chance serve all models; patches and GradCAM are a model's own.
    maps = photographs.count * (3 + len(two["MODELS"]) + len(explained))
    of_gaze = looked_at.count * (4 + 2 * len(explained))
    sizes = math.prod(photographs.size), math.prod(looked_at.size)
    found["02"] = {"maps": 2 * (maps * sizes[0] + of_gaze * sizes[1])}
    whole, side = pictures(three["QUALITY"], three["QUALITY_OPTIONS"]), three["IMAGE_SIZE"]
    others = sum(pictures(*one).count for one in three["OTHER_QUALITY"].items())
    methods = 5 + len(three.get("PREDICTORS", []))
    maps = sum(n * height * width for n, height, width in gaze_sets(three))
    found["03"] = {"resized": (whole.count + others) * side**2 * 3, "maps": maps * methods * 2}
    if three["FROZEN_STAGES"]:
        network, pixels = (
            Baseline(three["BACKBONE"], "random"),
            np.zeros((1, side, side, 3), np.uint8),
        )
        seen = frozen_features(network, pixels, three["FROZEN_STAGES"])
        found["03"]["frozen stages"] = whole.count * 2 * seen[0].numel() * seen.element_size()
    if three["PROXIES"] != "observers":  # those of our predictor are of each repeat
        each = three["REPEATS"] if three["PROXIES"] == "predictor" else 1
        found["03"]["proxies"] = whole.count * each * math.prod(GRID) * 4
    coded = pictures(four["REFERENCES"], four["REFERENCE_OPTIONS"], four["IMAGES"])
    share = coded.count * math.prod(coded.size) / (SACID_PHOTOGRAPHS * 1356 * 2040)
    found["04"] = {"coded pictures, as SACID's": round(share * SACID_MB * 1e6)}
    return found


def sources(p: Mapping[str, Parameters]) -> dict[str, dict[str, str]]:
    """Name what each notebook reads from DATA_DIR, with the size that its source states."""
    found = {}
    for number, own in p.items():
        keys = ("DATASET", "GAZE_DATASET", "QUALITY", "GAZE", "REFERENCES")
        names = [own[key] for key in keys if key in own]
        names += [*own.get("OTHER_QUALITY", []), *own.get("OTHER_GAZE", [])]
        names = ["sacid" if name == "sacid-references" else name for name in names]
        found[number] = {n: _stated(n) for n in dict.fromkeys(names) if n in PICTURES}
        networks = [*own.get("PREDICTORS", []), own.get("PROXIES"), own.get("PREDICTOR")]
        files = import_module("lib.data.checkpoints").SOURCE
        found[number] |= {n: files[n].about for n in networks if n in files}
    return found


def _stated(name: str) -> str:
    source = import_module(f"lib.data.{name.replace('-', '_')}").SOURCE
    parts = source.values() if isinstance(source, dict) else [source]
    return " + ".join(part.about for part in parts)


def untimed(p: Mapping[str, Parameters]) -> list[str]:
    """Networks of pyiqa's whose weights must be downloaded, by the names that the profile gives."""
    names = [*p["01"].get("PUBLISHED_MODELS", [])]
    names += [name for name in p["02"]["MODELS"] if not masked_with(name)]
    asked = p["05"]["METRICS"]
    everything = [*iqa.REGISTRY] if asked == "all" else [] if isinstance(asked, str) else asked
    return [*dict.fromkeys([*names, *(n for n in everything if n not in OFFLINE)])]


# -- the output ----------------------------------------------------------------------------------


def table(
    p: Mapping[str, Parameters], costs: Mapping[Unit, Cost], device: str
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Add up disk, time and memory of each notebook, and of all; and its seconds on one device."""
    rows, kept, read_from = [], cache(p), sources(p)
    for number, parts in work(p).items():
        times = [sum(w.seconds(costs[w.unit].seconds, n) for w in parts) for n in (1, GPUS)]
        memory = max((costs[w.unit].gpu_mib or 0) for w in parts)
        texts = [f"{name} {about}" for name, about in read_from[number].items()]
        caches = ", ".join(f"{name} {size_text(size)}" for name, size in kept[number].items())
        rows.append([number, "; ".join(texts), caches, sum(kept[number].values()), *times, memory])
    names = {name for one in read_from.values() for name in one}
    sums = [sum(row[k] for row in rows) for k in (3, 4, 5)]
    rows.append(["all", f"{len(names)} downloads", "", *sums, max(row[6] for row in rows)])
    columns = ["notebook", "reads (size as its source states it)", "keeps", "disk of that"]
    columns += [f"time, 1 {device}", f"time, {GPUS} {device}s", f"memory of each {device}"]
    found = pd.DataFrame(rows, columns=columns)
    alone = found.set_index("notebook")[columns[4]].to_dict()
    texts = [size_text, time_text, time_text, lambda mib: f"{mib:,.0f} MiB" if mib else None]
    for column, text in zip(columns[3:], texts, strict=True):
        found[column] = found[column].map(text)
    return found.dropna(axis=1, how="all"), alone


def time_text(seconds: float) -> str:
    """Write a time in the unit that a person would choose."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size_text(count: float) -> str:
    """Write bytes likewise."""
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def plan(profile: str, p: Mapping[str, Parameters], costs: Mapping[Unit, Cost]) -> str:
    """Write the plan in Markdown: the table, what is not in it, and what was measured."""
    gpu, todo = torch.cuda.is_available(), work(p)
    device = "GPU" if gpu else "machine"
    name = torch.cuda.get_device_name() if gpu else f"no GPU, {os.cpu_count()} CPU cores"
    totals, alone = table(p, costs, device)
    trainings = max(w.parts for w in todo["03"] if w.unit[0] == "training step")
    spread = (
        f"**{GPUS} {device}s**: if the {trainings} independent trainings (the largest lot) and the "
        "images are spread, one process a GPU (CUDA_VISIBLE_DEVICES), as JOBS does with a worker "
        "for each (book/howto/cluster.md). A training stays whole; what runs on the processor "
        "(scoring and fitting maps, codec, studies, figures) is not divided here; JOBS divides it, "
        "but for the fits."
    )
    memory = (
        "**Memory**: the most that torch held on the GPU at once, the same for one GPU and for "
        f"{GPUS}."
        if gpu
        else "**Memory**: without a GPU, GPU memory can't be measured. Peak resident memory of "
        f"this process, over all that it measured: {peak_mib():,.0f} MiB."
    )
    left_out = (
        "**Not in the time**: tables and bootstraps; cells that compute by hand; read-outs trained "
        "by fold (on OSIE, or proxies by our predictor); the training of models that notebooks 01 "
        "and 05 miss, unless notebook 03 ran before (control-synthetic: always). **Not in the "
        "disk**: data sets unpacked; trained weights, 10 to 50 MB a network. **Twice in both**: "
        "maps that two notebooks share, which the second finds in the cache."
    )
    names = untimed(p)
    theirs = (
        f"**Not timed, as their weights must be downloaded**: {', '.join(names)}; so neither their "
        "GradCAMs nor masked pictures nor scores are in the time."
    )
    once = [f"{n} {alone[n]:.0f} s ({seconds} s)" for n, seconds in COLD_SECONDS.items()]
    check = (
        "**This plan, and in brackets a run of ours on two idle cores with AVX-512**: "
        f"{', '.join(once)}."
    )
    busy, cores = os.getloadavg()[0], os.cpu_count()
    load = f"load average {busy:.1f}, {torch.get_num_threads()} threads"
    slowed = (
        f"**A busy machine**: the load average was {busy:.1f} on {cores} cores while this was "
        f"measured. Idle, it may take as little as 1/{busy / cores:.1f} of the time."
    )
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    heading = f"## Unit costs, measured just now ({name}; {load}; {versions})"
    parts = [f"# The {profile} profile on this machine ({name})", markdown(totals), spread, memory]
    parts += [left_out, *[theirs] * bool(names), *[slowed] * (busy > 1.25 * cores)]
    parts += [*[check] * (profile == "sample"), heading]
    return "\n\n".join([*parts, markdown(unit_table(todo, costs), 4)])


def unit_table(todo: Mapping[str, list[Work]], costs: Mapping[Unit, Cost]) -> pd.DataFrame:
    """List each unit: what it costs, how often it is needed, and by which notebooks."""
    rows = []
    for unit, cost in costs.items():
        used = [
            (number, w.times) for number, parts in todo.items() for w in parts if w.unit == unit
        ]
        times, numbers = sum(n for _, n in used), " ".join(sorted({number for number, _ in used}))
        what = ", ".join(map(str, unit))
        rows.append((what, cost.seconds, cost.gpu_mib, times, numbers, times * cost.seconds))
    columns = ["unit", "seconds", "GPU, MiB", "times", "notebooks", "seconds in all"]
    return pd.DataFrame(rows, columns=columns).dropna(axis=1, how="all")


def main(arguments: list[str] | None = None) -> None:
    """Count, measure, multiply and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=__doc__)
    parser.add_argument("--profile", default="sample", help="sample, or a file of profiles/")
    profile = parser.parse_args(arguments).profile
    p = read(profile)
    units = dict.fromkeys(one.unit for parts in work(p).values() for one in parts)
    print(plan(profile, p, measure([*units])))


if __name__ == "__main__":
    main()
