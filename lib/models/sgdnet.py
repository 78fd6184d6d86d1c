"""SGDNet, a no-reference metric that learned saliency as a second task, in torch.

S. Yang, Q. Jiang, W. Lin, Y. Wang, "SGDNet: An End-to-End Saliency-Guided Deep Neural Network for
No-Reference Image Quality Assessment", ACM Multimedia 2019 [22]; in Keras at
github.com/ysyscool/SGDNet.

A ResNet-50 without its last pooling, a 1x1 convolution to 512 channels and a channel attention. In
the variant "output" a second 1x1 convolution predicts a saliency map from the same features, and
the features are multiplied by it before they are averaged; it was trained with a loss on that map.
The variant "none" has no such map. (There is a third, "input", which takes a map from outside; the
paper does not use it.) Neither of the two reads a saliency map when it judges a picture.

Conventions of the original: pixels are BGR less ImageNet's mean, not scaled; the stride of a stage
is on the first 1x1 convolution; convolutions of the trunk have biases; BatchNorm's epsilon is 1e-3.
It was trained at 512x384 and takes any size; here it gets the picture's own, as in the paper.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from lib import models
from lib.models.backbones import torch_seed
from lib.paths import cache_dir
from lib.store import write_atomically

VARIANTS = ("none", "output")
BLOCKS, WIDTHS = (3, 4, 6, 3), (64, 128, 256, 512)  # ResNet-50
FEATURES, HIDDEN = 512, 1024
MEAN_BGR = (103.939, 116.779, 123.68)  # of ImageNet, as Caffe's models have it
KERAS_EPSILON = 1e-3


def _convolution(inputs: int, outputs: int, size: int = 1, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)


def _normalization(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=KERAS_EPSILON)


class Bottleneck(nn.Module):
    """Three convolutions (1x1, 3x3, 1x1) beside a shortcut; names are Keras' branches."""

    def __init__(self, inputs: int, width: int, stride: int, project: bool):
        super().__init__()
        self.branch2a, self.bn2a = _convolution(inputs, width, 1, stride), _normalization(width)
        self.branch2b, self.bn2b = _convolution(width, width, 3), _normalization(width)
        self.branch2c, self.bn2c = _convolution(width, 4 * width), _normalization(4 * width)
        if project:
            self.branch1 = _convolution(inputs, 4 * width, 1, stride)
            self.bn1 = _normalization(4 * width)
        self.project = project

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """BxCxHxW to Bx(4 width)xhxw."""
        shortcut = self.bn1(self.branch1(x)) if self.project else x
        x = F.relu(self.bn2a(self.branch2a(x)))
        x = F.relu(self.bn2b(self.branch2b(x)))
        return F.relu(self.bn2c(self.branch2c(x)) + shortcut)


class SGDNet(nn.Module):
    """The network.

    Parameters
    ----------
    variant : {"output", "none"}
        With or without a saliency map of its own.
    seed : int
        Of the initial weights.
    """

    def __init__(self, variant: str, seed: int = 0):
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")
        super().__init__()
        self.variant = variant
        with torch_seed(seed):
            self.conv1, self.bn_conv1 = nn.Conv2d(3, 64, 7, 2, padding=3), _normalization(64)
            channels = 64
            for stage, (count, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True), start=2):
                for number in range(count):
                    stride = 2 if number == 0 and stage > 2 else 1
                    block = Bottleneck(channels, width, stride, project=number == 0)
                    self.add_module(f"res{stage}{'abcdef'[number]}", block)
                    channels = 4 * width
            self.features = nn.Conv2d(channels, FEATURES, 1, bias=False)
            self.squeeze = nn.Linear(FEATURES, FEATURES // 4)
            self.excite = nn.Linear(FEATURES // 4, FEATURES)
            if variant == "output":
                self.saliency = nn.Conv2d(FEATURES, 1, 1, bias=False)
            self.fc1, self.fc2 = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
            self.predictions = nn.Linear(HIDDEN, 1)
        self.eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Judge pictures.

        Parameters
        ----------
        images : Tensor
            Bx3xHxW, BGR from 0 to 255 less the mean.

        Returns
        -------
        (Tensor, Tensor or None)
            Scores (B,), higher is better; and the map, Bxhxw at a 32nd of the size, if it has one.
        """
        x = F.relu(self.bn_conv1(self.conv1(images)))
        x = F.max_pool2d(x, 3, 2, padding=1)
        for stage, count in enumerate(BLOCKS, start=2):
            for number in range(count):
                x = self.get_submodule(f"res{stage}{'abcdef'[number]}")(x)
        raw = F.relu(self.features(x))  # Bx512xhxw
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(raw.mean(dim=(2, 3))))))
        x, saliency = raw * gate[:, :, None, None], None
        if self.variant == "output":
            saliency = F.relu(self.saliency(raw))  # Bx1xhxw
            x = x * saliency
        x = F.relu(self.fc1(x.mean(dim=(2, 3))))  # the original's dropout only acts in training
        x = F.relu(self.fc2(x))
        return self.predictions(x).squeeze(1), None if saliency is None else saliency.squeeze(1)

    @torch.inference_mode()
    def score(self, images: np.ndarray) -> np.ndarray:
        """Judge BxHxWx3 uint8 RGB: (B,) float64, higher is better."""
        device = self.conv1.weight.device
        bgr = torch.from_numpy(np.ascontiguousarray(images[..., ::-1])).to(device).float()
        bgr = (bgr - torch.tensor(MEAN_BGR, device=device)).permute(0, 3, 1, 2)
        return self(bgr)[0]


def load_sgdnet(variant: str) -> SGDNet:
    """Load a variant whose weights were converted (see `main`).

    Raises
    ------
    FileNotFoundError
        If they were not; the message says where the original weights are and how to convert them.
    ValueError
        If the file is not such a network.
    """
    network, path = SGDNet(variant), models.weights_path(f"sgdnet-{variant}")
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights of SGDNet-{variant} at {path}. "
            + (
                "The authors' Keras file (110 MB or more) is at "
                "https://drive.google.com/uc?id=1yvOPZw-CnKH3_lcdI8YRlfash2lXejz4; convert it: "
                if variant == "output"
                else "The authors publish none that we know of; train theirs, then convert it: "
            )
            + f"python -m lib.models.sgdnet FILE --variant {variant}"
        )
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise ValueError(f"{path} is not SGDNet-{variant} ({error}); convert it again") from error
    return network


# --- from Keras -------------------------------------------------------------------------------


def read_keras(path: Path, variant: str) -> dict[str, torch.Tensor]:
    """Read the weights of the original, a Keras HDF5 file (whatever its ending).

    Returns
    -------
    dict
        What `SGDNet.load_state_dict` takes, float32.

    Raises
    ------
    ValueError
        If the file is no HDF5, lacks a layer, has one too many, or one of another shape.
    """
    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)  # a whole model, or its weights alone
            layers = {
                _text(name): [np.asarray(group[name][_text(w)]) for w in weights]
                for name in map(_text, group.attrs["layer_names"])
                if len(weights := group[name].attrs["weight_names"])
            }
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a Keras model in HDF5 ({error})") from error
    # Layers that the authors did not name are numbered by Keras, from wherever it had got to.
    convolutions = [name for name in layers if name.startswith("conv2d")]
    dense = sorted((n for n in layers if n.startswith("dense")), key=lambda n: (len(n), n))
    renamed = dict(zip([*convolutions, *dense], ["features", "squeeze", "excite"], strict=False))
    state, wanted = {}, SGDNet(variant).state_dict()
    for name, arrays in layers.items():
        for key, array in _entries(_module(renamed.get(name, name)), arrays):
            if key not in wanted:
                raise ValueError(f"{path}: SGDNet-{variant} has no {key} (layer {name})")
            if tuple(array.shape) != tuple(wanted[key].shape):
                raise ValueError(
                    f"{path}: layer {name} has a shape of {tuple(array.shape)} for {key}, not "
                    f"{tuple(wanted[key].shape)}"
                )
            state[key] = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}  # Keras has none
    if lacking := sorted(set(wanted) - set(state) - counters):
        raise ValueError(f"{path} lacks {len(lacking)} entries of SGDNet-{variant}: {lacking[0]}")
    return state | {key: wanted[key] for key in counters}


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _module(layer: str) -> str:
    """Name our module after a layer: bn3a_branch2b becomes res3a.bn2b."""
    for prefix, kind in (("res", "branch"), ("bn", "bn")):
        if layer.startswith(prefix) and "_branch" in layer:
            block, branch = layer.removeprefix(prefix).split("_branch")
            return f"res{block}.{kind}{branch}"
    return layer


def _entries(module: str, arrays: Sequence[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Pair our parameters of a layer with its arrays, axes in torch's order."""
    if len(arrays) == 4:
        names = ("weight", "bias", "running_mean", "running_var")  # gamma, beta, mean, variance
        yield from ((f"{module}.{name}", a) for name, a in zip(names, arrays, strict=True))
        return
    for name, array in zip(("weight", "bias"), arrays, strict=False):
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)  # height, width, in, out
        yield f"{module}.{name}", array.T if array.ndim == 2 else array


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: convert the authors' Keras file."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.models.sgdnet",
        description="Convert SGDNet's Keras weights (HDF5, named .pkl by its authors).",
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, default="output")
    options = parser.parse_args(arguments)
    try:
        state = read_keras(options.file, options.variant)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = cache_dir() / "weights" / f"sgdnet-{options.variant}.safetensors"
    write_atomically(path, lambda temporary: save_file(state, temporary))
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
