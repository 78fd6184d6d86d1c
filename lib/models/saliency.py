"""The project's own saliency predictor: a frozen ImageNet trunk and a light decoder.

In the manner of DeepGaze (Kümmerer et al. 2015, 2017): the features that an EfficientNet-Lite0
learned on ImageNet stay as they are, and a small read-out of 1x1 convolutions, with a quadratic
centre bias, learns where people look. The read-out trains in minutes on a CPU, so every number on
OSIE can come from a model that never saw the image (`cross_validate`), and it ships in under half
a megabyte. It is the reference row of Table I where MSI-Net [41] and TranSalNet [3] are out of
reach, and the source of proxy saliency for Sections III-B and III-C.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from lib.images import network_size, resize_image
from lib.maps import normalize_sum, resize_map
from lib.models.backbones import create_backbone, torch_seed
from lib.paths import weights_dir
from lib.records import Dataset, folds_of
from lib.store import Store, write_atomically

VERSION = 1  # of the numbers in the cache
NAME = "saliency-lite0"  # the read-out that ships
TRUNK = "efficientnet_lite0"
LONG_SIDE = 512  # pixels; the read-out's grid is one sixteenth of it
STRIDES = (8, 16, 32, 32)  # of the four feature maps that the read-out sees
CHANNELS = (40, 112, 320, 1280)
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 20, 16, 2e-3, 1e-2


class ReadOut(nn.Module):
    """Four feature maps to log-density on the stride-16 grid; `width` channels are mixed."""

    def __init__(self, width: int = 64, seed: int = 0):
        super().__init__()
        with torch_seed(seed):
            self.mix = nn.ModuleList(nn.Conv2d(c, width, 1) for c in CHANNELS)
            self.gain = nn.ModuleList(nn.GroupNorm(1, c) for c in CHANNELS)
            self.local = nn.Conv2d(width, width, 3, padding=1, groups=width)
            self.read = nn.Sequential(nn.GELU(), nn.Conv2d(width, 32, 1), nn.GELU())
            self.last = nn.Conv2d(32, 1, 1)
        # Log of a Gaussian centre bias: quadratic in x and y. Starts at the usual width.
        self.center = nn.Parameter(torch.tensor([0.0, 0.0, -1.0, -1.0]))

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features BxCxhxw at `STRIDES` to log-density BxHxW whose exponential sums to 1."""
        height, width = features[1].shape[-2:]
        mixed = 0
        for feature, gain, mix in zip(features, self.gain, self.mix, strict=True):
            part = mix(gain(feature))
            mixed = mixed + F.interpolate(
                part, size=(height, width), mode="bilinear", antialias=True, align_corners=False
            )
        mixed = mixed + self.local(F.gelu(mixed))
        logits = self.last(self.read(mixed)).squeeze(1)
        y = torch.linspace(-1, 1, height, device=logits.device)[:, None]
        x = torch.linspace(-1, 1, width, device=logits.device)[None, :]
        cx, cy, cxx, cyy = self.center
        logits = logits + cx * x + cy * y + cxx * x**2 + cyy * y**2
        return logits.flatten(1).log_softmax(1).view_as(logits)


@lru_cache(maxsize=1)
def _trunk() -> nn.Module:
    return create_backbone(TRUNK, "imagenet").eval().requires_grad_(False)


@torch.inference_mode()
def trunk_features(images: np.ndarray) -> list[torch.Tensor]:
    """Features of BxHxWx3 uint8 (sides multiples of 32) at `STRIDES`, BxCxhxw float32."""
    trunk = _trunk()
    x = (torch.from_numpy(np.ascontiguousarray(images)).float() / 127.5 - 1).permute(0, 3, 1, 2)
    x = trunk.bn1(trunk.conv_stem(x))
    kept = []
    for index, stage in enumerate(trunk.blocks):
        x = stage(x)
        if index in (2, 4, 6):  # the last blocks at strides 8, 16 and 32
            kept.append(x)
    return [*kept, trunk.bn2(trunk.conv_head(x))]


class SaliencyPredictor:
    """Predict where people look, by a trained read-out."""

    def __init__(self, readout: ReadOut):
        self.readout = readout.eval()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Density HxW float32 (sums to 1) of an HxWx3 uint8 image, mirrored views averaged."""
        (density,) = predict_grid([self.readout], image)
        return normalize_sum(resize_map(density, image.shape[:2]))


@torch.inference_mode()
def predict_grid(readouts: Sequence[ReadOut], image: np.ndarray) -> np.ndarray:
    """Predict one image by several read-outs that share the trunk's one pass.

    Returns RxHxW float32 on the stride-16 grid, a read-out each; mirrored views averaged.
    """
    small = resize_image(image, *network_size(image.shape[:2], LONG_SIDE))
    features = trunk_features(np.stack([small, small[:, ::-1]]))
    views = [readout(features).exp() for readout in readouts]
    return torch.stack([(plain + mirrored.flip(-1)) / 2 for plain, mirrored in views]).numpy()


def save_readout(readout: ReadOut, path: Path, **about: str) -> None:
    """Write a read-out as half-precision safetensors."""
    state = {k: v.detach().half().contiguous() for k, v in readout.state_dict().items()}
    metadata = {"about": json.dumps(about, sort_keys=True)}
    write_atomically(path, lambda temporary: save_tensors(state, temporary, metadata=metadata))


def load_readout(path: Path | None = None) -> ReadOut:
    """Read what `save_readout` wrote; by default the read-out that ships."""
    path = path or weights_dir() / f"{NAME}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"no saliency predictor at {path} (0.5 MB, part of the repository); restore it with "
            f"`git checkout -- weights`, or retrain it: `make train MODEL={NAME}`"
        )
    readout = ReadOut()
    try:
        readout.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    except Exception as error:
        raise ValueError(f"{path} is not a read-out of this project ({error})") from error
    return readout.eval()


def _features_of(dataset: Dataset) -> tuple[list[np.ndarray], np.ndarray]:
    """Return per-image features, plain and mirrored, and densities on the stride-16 grid.

    The features are a list (one a stride) of (N, 2, C, h, w) float16 arrays. Images must share
    one shape, as OSIE's do.
    """
    store = Store("trunk-features", VERSION, data=dataset.fingerprint)
    rows, densities = [], []
    for index in tqdm(range(len(dataset)), desc=f"features of {dataset.name}", unit="image"):
        record = dataset[index]
        size = network_size(record.image.shape[:2], LONG_SIDE)
        flat = store.get(record.name)
        if flat is None:
            small = resize_image(record.image, *size)
            both = trunk_features(np.stack([small, small[:, ::-1]]))
            flat = torch.cat([f.flatten(1) for f in both], dim=1).half().numpy()
            store.put(record.name, flat)
        rows.append(flat)
        densities.append(resize_map(record.density, (size[0] // 16, size[1] // 16)))
    shapes = [(c, size[0] // s, size[1] // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]
    if len({row.shape for row in rows}) != 1:
        raise ValueError(f"the images of {dataset.name} differ in shape; training needs one shape")
    stacked = np.stack(rows)
    ends = np.cumsum([int(np.prod(s)) for s in shapes])
    parts = np.split(stacked, ends[:-1], axis=2)
    features = [p.reshape(len(rows), 2, *shape) for p, shape in zip(parts, shapes, strict=True)]
    return features, normalize_sum(np.stack(densities))


def fit_readout(
    features: list[np.ndarray], densities: np.ndarray, chosen: np.ndarray, seed: int, desc: str
) -> ReadOut:
    """Train a read-out on the chosen images by KL divergence from their fixation density."""
    readout = ReadOut(seed=seed)
    optimizer = torch.optim.AdamW(readout.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(chosen) // BATCH)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
    target = torch.from_numpy(densities)
    bar = tqdm(range(EPOCHS), desc=desc, unit="epoch")
    for epoch in bar:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(chosen)
        total = 0.0
        for start in range(0, len(order), BATCH):
            batch = np.sort(order[start : start + BATCH])
            mirrored = int(rng.integers(2))
            inputs = [torch.from_numpy(f[batch, mirrored]).float() for f in features]
            wanted = target[torch.from_numpy(batch)]
            wanted = wanted.flip(-1) if mirrored else wanted
            loss = F.kl_div(readout(inputs), wanted, reduction="none").sum(dim=(1, 2)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(batch)
        bar.set_postfix(KLD=f"{total / len(chosen):.3f}")
    return readout.eval()


def train_on(dataset: Dataset, seed: int = 0) -> ReadOut:
    """Train a read-out on every image of a data set."""
    features, densities = _features_of(dataset)
    return fit_readout(features, densities, np.arange(len(dataset)), seed, "all images")


def fold_readouts(dataset: Dataset, folds: int = 5, seed: int = 0) -> list[ReadOut]:
    """Train a read-out for each fold of `folds_of`, on every image outside it; memoised."""
    key = {"data": dataset.fingerprint, "names": dataset.names, "folds": folds, "seed": seed}
    store = Store("fold-readouts", VERSION, **key)
    fold, whole, readouts = folds_of(len(dataset), folds, seed), None, []
    for k in range(folds):
        readout = ReadOut().eval()
        if (weights := store.get(f"fold {k}")) is None:
            whole = whole or _features_of(dataset)
            trained = fit_readout(*whole, np.flatnonzero(fold != k), seed, f"fold {k + 1}/{folds}")
            weights = nn.utils.parameters_to_vector(trained.parameters()).detach().numpy()
            store.put(f"fold {k}", weights)
        nn.utils.vector_to_parameters(torch.from_numpy(weights), readout.parameters())
        readouts.append(readout)
    return readouts


def cross_validate(dataset: Dataset, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Predict every image by a read-out that was trained without it; memoised.

    Returns NxHxW float32 densities on the stride-16 grid (32x24 for OSIE), each summing to 1.
    """
    key = {"data": dataset.fingerprint, "names": dataset.names, "folds": folds, "seed": seed}
    store = Store("cross-validated", VERSION, **key)
    if (predicted := store.get("all")) is None:
        readouts = fold_readouts(dataset, folds, seed)
        features, densities = _features_of(dataset)
        fold, predicted = folds_of(len(dataset), folds, seed), np.empty_like(densities)
        for k, readout in enumerate(readouts):
            predicted[fold == k] = _predict(readout, features, np.flatnonzero(fold == k))
        store.put("all", predicted)
    return predicted


@torch.inference_mode()
def _predict(readout: ReadOut, features: list[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Densities of some images, plain and mirrored views averaged."""
    predicted = []
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        plain, mirrored = (
            readout([torch.from_numpy(f[batch, view]).float() for f in features]).exp()
            for view in (0, 1)
        )
        predicted.append(((plain + mirrored.flip(-1)) / 2).numpy())
    return normalize_sum(np.concatenate(predicted))
