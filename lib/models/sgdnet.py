"""SGDNet, a no-reference metric that learned saliency as a second task, in torch.

S. Yang, Q. Jiang, W. Lin, Y. Wang, "SGDNet: An End-to-End Saliency-Guided Deep Neural Network for
No-Reference Image Quality Assessment", ACM Multimedia 2019 [22]; in Keras at
github.com/ysyscool/SGDNet. Modules have the names of its layers.

A ResNet-50 without its last pooling, a 1x1 convolution to 512 channels and a channel attention. In
the variant "output" a second 1x1 convolution predicts a saliency map from the same features, and
the features are multiplied by it before they are averaged; it was trained with a loss on that map.
The variant "none" has no such map. Neither reads a saliency map when it judges a picture.

Conventions of the original: pixels are BGR less ImageNet's mean, not scaled; the stride of a stage
is on the first 1x1 convolution; convolutions of the trunk have biases; BatchNorm's epsilon is 1e-3.
It was trained at 512x384 and takes any size; here it gets the picture's own, as in the paper.
"""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lib.models.backbones import torch_seed
from lib.paths import cache_dir

STAGES = {2: ("abc", 64), 3: ("abcd", 128), 4: ("abcdef", 256), 5: ("abc", 512)}  # ResNet-50
FEATURES, HIDDEN = 512, 1024
MEAN_BGR = (103.939, 116.779, 123.68)  # of ImageNet, as Caffe's models have it
WHERE = {
    "output": "the authors' Keras file (110 MB or more) is at "
    "https://drive.google.com/uc?id=1yvOPZw-CnKH3_lcdI8YRlfash2lXejz4",
    "none": "the authors publish none that we know of: train theirs",
}


class SGDNet(nn.Module):
    """The network, with ("output") or without ("none") a saliency map of its own."""

    def __init__(self, variant: str, seed: int = 0):
        super().__init__()
        with torch_seed(seed):
            self._convolution("conv1", "bn_conv1", 3, 64, 7, 2)
            inputs = 64
            for stage, (blocks, width) in STAGES.items():
                for block in blocks:
                    name, stride = f"{stage}{block}_branch", 2 if block == "a" and stage > 2 else 1
                    self._convolution(f"res{name}2a", f"bn{name}2a", inputs, width, 1, stride)
                    self._convolution(f"res{name}2b", f"bn{name}2b", width, width, 3)
                    self._convolution(f"res{name}2c", f"bn{name}2c", width, 4 * width)
                    if block == "a":
                        self._convolution(f"res{name}1", f"bn{name}1", inputs, 4 * width, 1, stride)
                    inputs = 4 * width
            self.conv2d_1 = nn.Conv2d(inputs, FEATURES, 1, bias=False)
            self.dense_1 = nn.Linear(FEATURES, FEATURES // 4)
            self.dense_2 = nn.Linear(FEATURES // 4, FEATURES)
            if variant == "output":
                self.saliency = nn.Conv2d(FEATURES, 1, 1, bias=False)
            self.fc1, self.fc2 = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
            self.predictions = nn.Linear(HIDDEN, 1)
        self.eval()

    def _convolution(
        self, name: str, norm: str, inputs: int, outputs: int, size: int = 1, stride: int = 1
    ) -> None:
        self.add_module(name, nn.Conv2d(inputs, outputs, size, stride, padding=size // 2))
        self.add_module(norm, nn.BatchNorm2d(outputs, eps=1e-3))

    def _apply_branch(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(f"bn{name}")(self.get_submodule(f"res{name}")(x))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Bx3xHxW, BGR from 0 to 255 less the mean, to Bx2048xhxw at a 32nd of the size."""
        x = F.max_pool2d(F.relu(self.bn_conv1(self.conv1(images))), 3, 2, padding=1)
        for stage, (blocks, _) in STAGES.items():
            for block in blocks:
                name = f"{stage}{block}_branch"
                shortcut = self._apply_branch(f"{name}1", x) if block == "a" else x
                for part in ("2a", "2b"):
                    x = F.relu(self._apply_branch(name + part, x))
                x = F.relu(self._apply_branch(f"{name}2c", x) + shortcut)
        return x

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Judge pictures as `features` takes them: (B,), higher is better."""
        raw = F.relu(self.conv2d_1(self.features(images)))  # Bx512xhxw
        gate = torch.sigmoid(self.dense_2(F.relu(self.dense_1(raw.mean(dim=(2, 3))))))
        x = raw * gate[:, :, None, None]
        if hasattr(self, "saliency"):
            x = x * F.relu(self.saliency(raw))  # Bx1xhxw
        x = F.relu(self.fc1(x.mean(dim=(2, 3))))  # the original's dropout only acts in training
        return self.predictions(F.relu(self.fc2(x))).squeeze(1)

    @torch.inference_mode()
    def score(self, images: np.ndarray) -> torch.Tensor:
        """Judge BxHxWx3 uint8 RGB: (B,) float64, higher is better."""
        device = self.conv1.weight.device
        bgr = torch.from_numpy(np.ascontiguousarray(images[..., ::-1])).to(device).float()
        return self((bgr - torch.tensor(MEAN_BGR, device=device)).permute(0, 3, 1, 2)).double()


def load(variant: str) -> SGDNet:
    """Load a variant from the authors' Keras file, which is read as numbers only."""
    path = cache_dir() / "weights" / f"sgdnet-{variant}.h5"
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights of SGDNet-{variant}: {WHERE[variant]}; put the file at {path}"
        )
    network = SGDNet(variant)
    network.load_state_dict(read_keras(path, network.state_dict()))
    return network


def read_keras(path: Path, wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Read a Keras HDF5 file into what the network `wanted` is of takes, float32.

    A file that is no HDF5, lacks a layer, has one too many or one of another shape is refused.
    """
    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)  # a whole model, or its weights alone
            names = [n.decode() if isinstance(n, bytes) else n for n in group.attrs["layer_names"]]
            layers = {
                n: [np.asarray(group[n][w]) for w in group[n].attrs["weight_names"]] for n in names
            }
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a Keras model in HDF5 ({error})") from error
    # Layers that the authors did not name are numbered by Keras, from wherever it had got to.
    dense = sorted((n for n in layers if n.startswith("dense")), key=lambda n: (len(n), n))
    unnamed = [*(n for n in layers if n.startswith("conv2d")), *dense]
    renamed = dict(zip(unnamed, ["conv2d_1", "dense_1", "dense_2"], strict=False))
    # gamma, beta, mean, variance of a normalisation; kernel and bias of the rest
    parts = ("weight", "bias", "running_mean", "running_var")
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # height, width, in, out to torch's order
    state = {
        f"{renamed.get(name, name)}.{part}": torch.from_numpy(
            np.ascontiguousarray(array.transpose(axes[array.ndim]), np.float32)
        )
        for name, arrays in layers.items()
        for part, array in zip(parts, arrays, strict=False)
    }
    counters = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")}
    odd = {k for k in state | wanted if k not in counters and _shape(state, k) != _shape(wanted, k)}
    if odd:
        key = min(odd)
        raise ValueError(
            f"{path} is not this SGDNet: {len(odd)} entries differ, {key} is {_shape(state, key)} "
            f"there and {_shape(wanted, key)} here"
        )
    return state | counters  # Keras counts no batches


def _shape(state: dict[str, torch.Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(state[key].shape) if key in state else None
