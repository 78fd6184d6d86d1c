"""MSI-Net, the saliency network of which the paper takes proxy maps [41], in torch.

A. Kroner, M. Senden, K. Driessens, R. Goebel, "Contextual Encoder-Decoder Network for Visual
Saliency Prediction", Neural Networks 129, 2020; github.com/alexanderkroner/saliency, in TensorFlow.
Layers have its names.

A VGG16 that stops halving after its third stage; features of its last three stages go through
convolutions of growing dilation, beside one of the whole scene (ASPP), and up again to the input.

Conventions of the original: the mean is ordered B, G, R but taken off R, G, B; bilinear resizing
counts from the corner (`upsample`); a picture is fitted into SALICON's 240x320 on gray. The hub's
model card has frames for square and tall pictures too, on black; it shares the weights.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lib.images import as_rgb, center_in, crop_center, scaled
from lib.models import load_published
from lib.models.tensorflow1 import pool_in_place, read_constants, resize_corners, upsample

FRAME, GRAY = (240, 320), 126  # of the SALICON weights: height and width; what fills the rest
MEAN = (103.939, 116.779, 123.68)  # of ImageNet, as Caffe's models have it
STAGES = {1: (2, 64), 2: (2, 128), 3: (3, 256), 4: (3, 512), 5: (3, 512)}  # convolutions, channels
DILATIONS = {1: 1, 2: 4, 3: 8, 4: 12, 5: 1}  # of ASPP's branches; 5 sees the mean of the scene
DECODER = {1: (256, 128), 2: (128, 64), 3: (64, 32), 4: (32, 1)}


class MSINet(nn.Module):
    """The network; its weights start at random."""

    def __init__(self):
        super().__init__()
        width = 3
        for stage, (depth, channels) in STAGES.items():
            for layer in range(1, depth + 1):
                self._add(f"conv{stage}/conv{stage}_{layer}", width, channels, 1 + (stage == 5))
                width = channels
        for branch, dilation in DILATIONS.items():
            self._add(f"aspp/conv1_{branch}", 1280, 256, dilation, 1 if dilation == 1 else 3)
        self._add("aspp/conv2", 1280, 256, size=1)
        for layer, channels in DECODER.items():
            self._add(f"decoder/conv{layer}", *channels)
        self.eval()

    def _add(self, name: str, inputs: int, outputs: int, dilation: int = 1, size: int = 3) -> None:
        padding = dilation * (size // 2)  # "same"
        self.add_module(name, nn.Conv2d(inputs, outputs, size, 1, padding, dilation))

    def _run(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.get_submodule(name)(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Saliency of pictures less `MEAN`: Bx3xHxW, sides multiples of 8, to BxHxW in [0, 1]."""
        kept = []
        for stage, (depth, _) in STAGES.items():
            for layer in range(1, depth + 1):
                x = self._run(f"conv{stage}/conv{stage}_{layer}", x)
            x = F.max_pool2d(x, 2) if stage < 4 else pool_in_place(x)
            kept.append(x)
        x = torch.cat(kept[2:], dim=1)  # Bx1280x(H/8)x(W/8)
        scene = self._run("aspp/conv1_5", x.mean(dim=(2, 3), keepdim=True))
        branches = [self._run(f"aspp/conv1_{i}", x) for i in (1, 2, 3, 4)]
        x = torch.cat([*branches, scene.expand_as(branches[0])], dim=1)
        x = self._run("aspp/conv2", x)  # Bx256x(H/8)x(W/8)
        for layer in (1, 2, 3):
            x = self._run(f"decoder/conv{layer}", upsample(x))
        x = self.get_submodule("decoder/conv4")(x).squeeze(1)  # BxHxW, of either sign
        x = x - x.amin(dim=(1, 2), keepdim=True)
        return x / (1e-7 + x.amax(dim=(1, 2), keepdim=True))

    @torch.inference_mode()
    def predict(self, picture: object) -> np.ndarray:
        """Saliency map HxW float32, 0 to 1, of whatever `lib.images.as_rgb` takes, at any size."""
        shape = (image := as_rgb(picture)).shape[:2]
        inside, around = scaled(shape, FRAME, min, round), scaled(FRAME, shape, max, round)
        x = center_in(resize_corners(image, inside).clip(0, 255), FRAME, GRAY)
        x = (torch.from_numpy(x) - torch.tensor(MEAN)).permute(2, 0, 1)[None]
        found = self(x.to(next(self.parameters()).device)).permute(1, 2, 0).cpu().numpy()
        return crop_center(resize_corners(found, around)[..., 0].clip(0, 1), shape)


def load_msinet() -> MSINet:
    """Load the authors' frozen graph ``msi-net.pb``; an OSError says how to get it."""
    return load_published(MSINet, "msi-net.pb", read_msinet)


def read_msinet(path: Path) -> dict[str, torch.Tensor]:
    """Read a frozen graph as a state dict; kernels are height, width, in, out."""
    state = {}
    for key, array in read_constants(path).items():
        if key.endswith(("/kernel", "/bias")):
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
            name = key.removesuffix("/bias").removesuffix("/kernel")
            state[f"{name}.{'bias' if key.endswith('bias') else 'weight'}"] = torch.tensor(array)
    return state
