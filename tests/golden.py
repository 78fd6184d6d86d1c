"""Arrays that guard the numbers: what the library computed on three photographs, kept in a file.

``python -m tests.golden`` compares bit for bit, ``python -m tests.golden write`` stores anew. Store
only when numbers are meant to move, and then raise the version beside the code that moved them:
cached results are keyed by it.
"""

import hashlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from lib import cam, codec, data, losses, masking, stats, training, x264
from lib.maps import GaussianPrior, resize_map
from lib.metrics import score_map
from lib.models.baseline import Baseline, SalLoss
from lib.sources import network_input
from lib.transforms import MapTransform

FILE = Path(__file__).with_suffix(".npz")
PHOTOGRAPHS = (0, 2, 6)
SIDE = 128  # pixels


def versions() -> dict[str, int]:
    """Return the versions of the code behind the arrays, by the first part of their names."""
    modules = {"cam": cam, "masking": masking, "codec": codec, "training": training}
    return {"maps": 1, "metrics": 1} | {name: m.VERSION for name, m in modules.items()}


def arrays() -> dict[str, np.ndarray]:
    """Compute everything that is guarded; names are "kind/what"."""
    dataset = data.load("sample-saliency")
    records = [dataset[i] for i in PHOTOGRAPHS]
    return _maps(records) | _cam(records) | _masking(records) | _codec(records) | _training(records)


def _maps(records):
    densities = [r.density for r in records]
    prior = GaussianPrior.fit(densities)
    priors = [prior.render(d.shape) for d in densities]
    squared = [r.density**0.5 for r in records]
    transform = MapTransform.fit(squared, densities, priors)
    center = sum(resize_map(p, priors[0].shape) for p in priors) / len(priors)
    found = {
        "maps/density": densities[0][::8, ::8],
        "maps/prior": np.array([prior.center_x, prior.center_y, prior.sigma_x, prior.sigma_y]),
        "maps/knots": transform.knots,
        "maps/values": transform.values,
        "maps/center_weight": np.array(transform.center_weight),
        "maps/transformed": transform.apply(squared[1], center)[::8, ::8],
    }
    for name, judged in (("density", squared), ("prior", priors)):
        scores = [score_map(m, r) for m, r in zip(judged, records, strict=True)]
        found[f"metrics/{name}"] = np.array([list(s.values()) for s in scores])
    a, b = found["metrics/density"][:, 0], found["metrics/prior"][:, 0]
    test = stats.paired_test(np.tile(a, 3), np.tile(b, 3) + np.arange(9) / 7, seed=0)
    found["metrics/paired"] = np.array([test.difference, test.low, test.high, test.p_value])
    return found


def _cam(records):
    network = Baseline("efficientnet_lite0", "imagenet", seed=0)
    x = network.normalize(network_input(records[:1], SIDE))
    layer = network.backbone.bn2
    plain = {"aug_smooth": False, "eigen_smooth": False}
    return {
        "cam/plain": cam.extract_cam(network, x, layer, **plain)[0][::4, ::4],
        "cam/gradcam": cam.extract_cam(network, x, layer, "gradcam")[0][::4, ::4],
        "cam/smoothed": cam.extract_cam(network, x, layer)[0][::4, ::4],
    }


def _masking(records):
    found = {}
    for record in records[1:]:
        ranks = masking.relevance_ranks(record.density[::4, ::4])
        name = record.name
        found[f"masking/ranks {name}"] = ranks[::4, ::4]
        masks = [masking.mask(ranks, p, s) for s in ("MoRF", "LeRF") for p in (0.25, 0.6)]
        found[f"masking/masks {name}"] = np.packbits(np.stack(masks))
        for kind in ("black", "mean", "blur"):
            image = record.image[::4, ::4]
            filled = masking.fill(image, masks[0], kind)
            digest = hashlib.sha256(filled.tobytes()).digest()
            found[f"masking/{kind} {name}"] = np.frombuffer(digest, np.uint8)
    return found


def _codec(records):
    found = {}
    for record in records[:2]:
        aq = codec.aq_offsets(x264.planes(x264.to_frame(record.image)))
        saliency = codec.macroblock_map(record.density)
        for preset in ("p132", "p220", "p310"):
            offsets = codec.solve_offsets(saliency, aq, codec.PRESETS[preset])
            found[f"codec/k {preset} {record.name}"] = np.array([offsets.k_up, offsets.k_down])
            found[f"codec/grid {preset} {record.name}"] = offsets.grid
    return found


def _training(records):
    images = np.concatenate([network_input([r], SIDE)[:, :96, :96] for r in records] * 3)[:8]
    maps = np.random.default_rng(0).random((8, 6, 6)).astype(np.float32)
    scores = np.linspace(0.1, 0.9, 8)
    recipe = losses.Recipe(epochs=1, batch_size=4, image_size=96, crop_size=64)
    weighted = replace(recipe, saliency_weight=0.3)
    found = {}
    for name, kind, chosen, seen in (
        ("Baseline", Baseline, recipe, None),
        ("Sal-Loss", SalLoss, weighted, maps),
        ("GradCAM-Loss", Baseline, weighted, maps),
    ):
        start = kind("efficientnet_lite0", "imagenet", seed=0)
        with tempfile.TemporaryDirectory() as folder:
            model, log = training.train(start, images, scores, chosen, Path(folder), maps=seen)
        found[f"training/losses {name}"] = np.array([v for k, v in log[0].items() if k != "epoch"])
        sums = [v.double().sum().item() for v in model.state_dict().values()]
        found[f"training/weights {name}"] = np.array(sums)
    return found


def main() -> int:
    """Store the arrays, or compare them bit for bit with those stored."""
    made = arrays()
    if sys.argv[1:] == ["write"]:
        np.savez_compressed(FILE, **made, **{f"version/{k}": v for k, v in versions().items()})
        return 0
    kept = np.load(FILE)
    moved = [k for k, v in made.items() if k not in kept or not np.array_equal(kept[k], v)]
    print("\n".join(moved) or f"{len(made)} arrays, bit for bit as they were")
    return bool(moved)


if __name__ == "__main__":
    sys.exit(main())
