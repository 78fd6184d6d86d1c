"""The project's own saliency predictor: a frozen ImageNet trunk and a light decoder.

In the manner of DeepGaze (Kümmerer et al. 2015, 2017): the features that an EfficientNet-Lite0
learned on ImageNet stay as they are, and a read-out of 1x1 convolutions, with a quadratic centre
bias, learns where people look. It trains in minutes on a CPU, so every number on OSIE can come from
a model that never saw the image (`cross_validate`). It stands in for MSI-Net [41], TranSalNet [3].
"""

import json
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from lib.images import as_rgb, network_size, resize_image
from lib.maps import normalize_sum, resize_map
from lib.models.backbones import create_backbone, torch_seed
from lib.models.msinet import load_msinet
from lib.models.transalnet import load_transalnet
from lib.paths import MEND, weights_dir
from lib.records import Dataset, folds_of
from lib.store import Store, write_atomically

VERSION = 1  # of the numbers in the cache
NAME = "saliency-lite0"  # the read-out that ships
TRUNK = "efficientnet_lite0"
LONG_SIDE = 512  # pixels; the read-out's grid is one sixteenth of it
STRIDES = (8, 16, 32, 32)  # of the four feature maps that the read-out sees
CHANNELS = (40, 112, 320, 1280)
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 20, 16, 2e-3, 1e-2
# Published networks: name -> (as it stands in tables, its loader); `predict` takes any picture.
PUBLISHED = {
    "msi-net": ("MSI-Net", load_msinet),
    "transalnet-res": ("TranSalNet-Res", partial(load_transalnet, "res")),
    "transalnet-dense": ("TranSalNet-Dense", partial(load_transalnet, "dense")),
}


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
        size, mixed = features[1].shape[-2:], 0
        for feature, gain, mix in zip(features, self.gain, self.mix, strict=True):
            part = mix(gain(feature))
            mixed = mixed + F.interpolate(part, size=size, mode="bilinear", antialias=True)
        mixed = mixed + self.local(F.gelu(mixed))
        logits = self.last(self.read(mixed)).squeeze(1)
        y = torch.linspace(-1, 1, size[0], device=logits.device)[:, None]
        x = torch.linspace(-1, 1, size[1], device=logits.device)
        cx, cy, cxx, cyy = self.center
        logits = logits + cx * x + cy * y + cxx * x**2 + cyy * y**2
        return logits.flatten(1).log_softmax(1).view_as(logits)


@lru_cache(maxsize=1)
def _trunk() -> nn.Module:
    return create_backbone(TRUNK, "imagenet").eval().requires_grad_(False)


@torch.inference_mode()
def trunk_features(images: np.ndarray) -> list[torch.Tensor]:
    """Features of BxHxWx3 uint8 (sides multiples of 32) at `STRIDES`, BxCxhxw float32."""
    x = (torch.from_numpy(images).float() / 127.5 - 1).permute(0, 3, 1, 2)
    last, kept = _trunk().forward_intermediates(x, indices=3)  # ends of strides 8, 16 and 32
    return [*kept, last]


def _both_views(image: np.ndarray) -> list[torch.Tensor]:
    """Features of a picture and of its mirror image, at `LONG_SIDE`."""
    small = resize_image(image, *network_size(image.shape[:2], LONG_SIDE))
    return trunk_features(np.stack([small, small[:, ::-1]]))


@torch.inference_mode()
def predict_grid(readouts: Sequence[ReadOut], image: np.ndarray) -> np.ndarray:
    """Predict by R read-outs, mirrored views averaged: RxHxW float32 on the stride-16 grid."""
    features = _both_views(image)
    views = [readout(features).exp() for readout in readouts]
    return torch.stack([(plain + mirrored.flip(-1)) / 2 for plain, mirrored in views]).numpy()


class SaliencyPredictor:
    """Predict where people look, by a trained read-out."""

    def __init__(self, readout: ReadOut):
        self.readout = readout.eval()

    def __call__(self, picture: object) -> np.ndarray:
        """Density HxW float32 (sums to 1) of what `as_rgb` takes, mirrored views averaged."""
        (density,) = predict_grid([self.readout], image := as_rgb(picture))
        return normalize_sum(resize_map(density, image.shape[:2]))


def save_readout(readout: ReadOut, path: Path, **about: str) -> None:
    """Write a read-out as half-precision safetensors."""
    state = {k: v.half() for k, v in readout.state_dict().items()}
    content = to_bytes(state, {"about": json.dumps(about, sort_keys=True)})
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def load_readout(path: Path | None = None) -> ReadOut:
    """Read what `save_readout` wrote; by default the read-out that ships."""
    path = path or weights_dir() / f"{NAME}.safetensors"
    if not path.is_file():
        mend = f"{MEND}, or retrain it: `make train MODEL={NAME}`"
        raise FileNotFoundError(f"no saliency predictor at {path} (0.5 MB); {mend}")
    readout = ReadOut()
    try:
        readout.load_state_dict(load_file(path))
    except Exception as error:
        raise ValueError(f"{path} is not a read-out of this project ({error}); {MEND}") from error
    return readout.eval()


def features_of(dataset: Dataset) -> tuple[list[np.ndarray], np.ndarray]:
    """Return what `train_on` learns from, memoised: images must share one shape, as OSIE's do.

    Features, plain and mirrored: (N, 2, C, h, w) float16 at `STRIDES`; densities: NxHxW, stride 16.
    """
    store = Store("trunk-features", VERSION, data=dataset.fingerprint)
    rows, densities = [], []
    for index in tqdm(range(len(dataset)), desc=f"features of {dataset.name}", unit="image"):
        record = dataset[index]
        height, width = network_size(record.image.shape[:2], LONG_SIDE)
        if (flat := store.get(record.name)) is None:
            both = [f.flatten(1) for f in _both_views(record.image)]
            flat = store.put(record.name, torch.cat(both, dim=1).half().numpy())
        rows.append(flat)
        densities.append(resize_map(record.density, (height // 16, width // 16)))
    shapes = [(c, height // s, width // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]
    parts = np.split(np.stack(rows), np.cumsum([np.prod(s) for s in shapes])[:-1], axis=2)
    features = [p.reshape(len(rows), 2, *shape) for p, shape in zip(parts, shapes, strict=True)]
    return features, normalize_sum(np.stack(densities))


def train_on(
    features: list[np.ndarray], densities: np.ndarray, chosen: Sequence[int], seed: int, desc: str
) -> ReadOut:
    """Train a read-out on the chosen images by KL divergence from their fixation density."""
    readout, target = ReadOut(seed=seed), torch.from_numpy(densities)
    optimizer = torch.optim.AdamW(readout.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(chosen) // BATCH)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
    for epoch in (bar := tqdm(range(EPOCHS), desc=desc, unit="epoch")):
        rng, total = np.random.default_rng([seed, epoch]), 0.0
        order = rng.permutation(chosen)
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


def fold_readouts(dataset: Dataset, folds: int = 5, seed: int = 0) -> list[ReadOut]:
    """Train a read-out for each fold of `folds_of`, on every image outside it; memoised."""
    store = _store("fold-readouts", dataset, folds, seed)
    fold, whole, readouts = folds_of(len(dataset), folds, seed), None, []
    for k in range(folds):
        readout = ReadOut().eval()
        if (weights := store.get(f"fold {k}")) is None:
            whole = whole or features_of(dataset)
            trained = train_on(*whole, np.flatnonzero(fold != k), seed, f"fold {k + 1}/{folds}")
            weights = nn.utils.parameters_to_vector(trained.parameters()).detach().numpy()
            store.put(f"fold {k}", weights)
        nn.utils.vector_to_parameters(torch.from_numpy(weights), readout.parameters())
        readouts.append(readout)
    return readouts


def cross_validate(dataset: Dataset, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Predict each image by a read-out trained without it: NxHxW densities, stride 16; memoised."""
    store = _store("cross-validated", dataset, folds, seed)
    if (predicted := store.get("all")) is not None:
        return predicted
    readouts, (features, densities) = fold_readouts(dataset, folds, seed), features_of(dataset)
    fold, predicted = folds_of(len(dataset), folds, seed), np.empty_like(densities)
    for k, readout in enumerate(readouts):
        chosen = np.flatnonzero(fold == k)
        for batch in np.split(chosen, range(BATCH, len(chosen), BATCH)):
            views = [[torch.from_numpy(f[batch, v]).float() for f in features] for v in (0, 1)]
            with torch.inference_mode():
                plain, mirrored = (readout(view).exp() for view in views)
            predicted[batch] = ((plain + mirrored.flip(-1)) / 2).numpy()
    return store.put("all", normalize_sum(predicted))


def _store(kind: str, dataset: Dataset, folds: int, seed: int) -> Store:
    key = {"data": dataset.fingerprint, "names": dataset.names, "folds": folds, "seed": seed}
    return Store(kind, VERSION, **key)
