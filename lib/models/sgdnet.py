"""SGDNet, a no-reference metric that learned saliency as a second task, in torch.

S. Yang, Q. Jiang, W. Lin, Y. Wang, "SGDNet: An End-to-End Saliency-Guided Deep Neural Network for
No-Reference Image Quality Assessment", ACM Multimedia 2019 [22]; in Keras at
github.com/ysyscool/SGDNet. Layers have its names.

A ResNet-50, a 1x1 convolution to 512 channels and a channel attention. In the variant "output" a
second 1x1 convolution, trained with a loss on its saliency map, multiplies the features before they
are averaged; "none" has no such map. Neither reads a saliency map when it judges a picture.

Conventions of the original: pixels are BGR less ImageNet's mean, not scaled; the stride of a stage
is on the first 1x1 convolution; the trunk's convolutions have biases; BatchNorm's epsilon is 1e-3.
It was trained at 512x384; here it gets a picture's own size, as in the paper.
"""

from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lib.images import check_batch
from lib.models import FETCH, load_published

# variant -> how its file gets here
VARIANTS = {"none": "no published file is known; one of your own may go there", "output": FETCH}
# ResNet-50, a stage: blocks, channels in and within (a quarter of those out), stride.
STAGES = {2: (3, 64, 64, 1), 3: (4, 256, 128, 2), 4: (6, 512, 256, 2), 5: (3, 1024, 512, 2)}
BLOCKS = [f"{stage}{letter}" for stage, row in STAGES.items() for letter in "abcdef"[: row[0]]]
MEAN_BGR = (103.939, 116.779, 123.68)  # of ImageNet, as Caffe's models have it
KERAS = {"kernel": "weight", "gamma": "weight", "beta": "bias"}  # Keras' names of parameters
KERAS |= {"moving_mean": "running_mean", "moving_variance": "running_var"}


class SGDNet(nn.Module):
    """The network, in the variant "output" or "none"; its weights start at random."""

    def __init__(self, variant: str):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3)
        self.bn_conv1 = nn.BatchNorm2d(64, eps=1e-3)
        for name in BLOCKS:
            _, inputs, width, stride = STAGES[int(name[0])]
            if name.endswith("a"):
                self._add(f"{name}_branch1", inputs, 4 * width, 1, stride)
            else:
                inputs, stride = 4 * width, 1
            self._add(f"{name}_branch2a", inputs, width, 1, stride)
            self._add(f"{name}_branch2b", width, width, 3, 1)
            self._add(f"{name}_branch2c", width, 4 * width, 1, 1)
        self.conv2d_1 = nn.Conv2d(2048, 512, 1, bias=False)
        self.dense_1, self.dense_2 = nn.Linear(512, 128), nn.Linear(128, 512)
        if variant == "output":
            self.saliency = nn.Conv2d(512, 1, 1, bias=False)
        self.fc1, self.fc2 = nn.Linear(512, 1024), nn.Linear(1024, 1024)
        self.predictions = nn.Linear(1024, 1)
        self.eval()

    def _add(self, branch: str, inputs: int, outputs: int, size: int, stride: int) -> None:
        convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
        self.add_module(f"res{branch}", convolution)
        self.add_module(f"bn{branch}", nn.BatchNorm2d(outputs, eps=1e-3))

    def _run(self, x: torch.Tensor, branch: str) -> torch.Tensor:
        return self.get_submodule(f"bn{branch}")(self.get_submodule(f"res{branch}")(x))

    def normalize(self, images: np.ndarray) -> torch.Tensor:
        """Turn BxHxWx3 uint8 RGB into the Bx3xHxW float that the network was trained on."""
        device = self.conv1.weight.device
        bgr = torch.from_numpy(check_batch(images)[..., ::-1].copy()).to(device).float()
        return (bgr - torch.tensor(MEAN_BGR, device=device)).permute(0, 3, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Quality of normalised images: Bx3xHxW to (B,); higher is better."""
        x = F.max_pool2d(F.relu(self.bn_conv1(self.conv1(x))), 3, 2, padding=1)
        for name in BLOCKS:
            shortcut = self._run(x, f"{name}_branch1") if name.endswith("a") else x
            x = F.relu(self._run(x, f"{name}_branch2a"))
            x = F.relu(self._run(x, f"{name}_branch2b"))
            x = F.relu(self._run(x, f"{name}_branch2c") + shortcut)
        raw = F.relu(self.conv2d_1(x))  # Bx512xhxw
        gate = torch.sigmoid(self.dense_2(F.relu(self.dense_1(raw.mean(dim=(2, 3))))))
        x = raw * gate[:, :, None, None]
        if hasattr(self, "saliency"):
            x = x * F.relu(self.saliency(raw))  # Bx1xhxw
        x = F.relu(self.fc1(x.mean(dim=(2, 3))))  # the original's dropout only acts in training
        return self.predictions(F.relu(self.fc2(x))).squeeze(1)


def read_keras(path: Path) -> dict[str, torch.Tensor]:
    """Read a Keras HDF5 file, a whole model or its weights alone, as a state dict."""
    state = {}

    def visit(key: str, item: h5py.Group | h5py.Dataset) -> None:  # such as "fc1/fc1/kernel:0"
        if isinstance(item, h5py.Dataset):
            layer, kind = key.split("/")[0], key.split("/")[-1].removesuffix(":0")
            # Kernels are height, width, in, out; or in, out.
            array = item[()].transpose({4: (3, 2, 0, 1), 2: (1, 0)}.get(item.ndim, (0,)))
            value = torch.from_numpy(np.ascontiguousarray(array, np.float32))
            state[f"{layer}.{KERAS.get(kind, kind)}"] = value
            if kind == "moving_mean":
                state[f"{layer}.num_batches_tracked"] = torch.tensor(0)  # Keras counts none

    with h5py.File(path) as file:
        file.get("model_weights", file).visititems(visit)
    return state


def load_sgdnet(variant: str) -> SGDNet:
    """Load the authors' Keras file ``sgdnet-<variant>.h5``; an OSError says how to get it."""
    build, file = partial(SGDNet, variant), f"sgdnet-{variant}.h5"
    return load_published(build, file, read_keras, VARIANTS[variant])
