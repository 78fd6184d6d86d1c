"""Published IQA models as GradCAM wants them: the rows TOPIQ, DBCNN, CLIP-IQA+ of Table I, and two.

pyiqa [50] builds them and gets their weights, trained on KonIQ-10k, as for Table III: each is the
`network` of its `lib.iqa.metric`. Which layers the paper explained it does not say; these are ours,
with neighbours for an ablation. MUSIQ has no feature map: its tokens are of three sizes of the
picture at once, and its score is read from one that has no place.
"""

from copy import copy
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lib.images import check_batch

VERSION = 1  # of the numbers in the cache
# Pixels: KonIQ-10k's 512x384, at which pyiqa trains TOPIQ, DBCNN and HyperIQA; SALICON has 640x480.
# MANIQA's authors squeezed KonIQ-10k's 1024x768 to `WHOLE`, CLIP-IQA+'s took it as it is.
LONG_SIDE = 512
WHOLE = 224  # pixels a side; HyperIQA and MANIQA take no other


@dataclass(frozen=True)
class Explained:
    """Where the map of a published model comes from."""

    metric: str  # pyiqa's name of the model
    layer: str  # whose output is explained: a part of pyiqa's network, or of the CLIP beside it
    why: str
    neighbours: tuple[str, ...]  # layers that might have been explained instead
    crops: str = ""  # pyiqa's number of crops, where it judges a picture by `WHOLE` x `WHOLE` crops


PUBLISHED = {  # named as in Table I; sizes are of the feature map of a picture of 512x384
    "TOPIQ": Explained(
        "topiq_nr",
        "semantic_model.layer4",  # 2048x12x16
        "its cells are the queries that attend, top down, to every finer scale",
        ("semantic_model.layer3", "dim_reduce.4"),
    ),
    "DBCNN": Explained(
        "dbcnn",
        "features1",  # 512x24x32
        "content: VGG-16, of two branches that are multiplied; the other knows distortions only",
        ("features1.22", "features2"),
    ),
    "CLIP-IQA+": Explained(
        "clipiqa+",
        "visual.layer4",  # 2048x12x16
        "the last map before CLIP pools places by attention",
        ("visual.layer3",),
    ),
    "HyperIQA": Explained(
        "hyperiqa",
        "base_model.layer4",  # 2048x7x7
        "content, from which the rule that judges the picture is made",
        ("base_model.layer3", "conv1"),
        crops="num_crop",
    ),
    "MANIQA": Explained(
        "maniqa",
        "swintransformer2",  # 384x28x28: tokens, which pyiqa itself lays out as a map
        "each place of it gets a score and a weight, and nothing mixes places afterwards",
        ("swintransformer1", "conv2"),
        crops="test_sample",
    ),
}


class Published(nn.Module):
    """A network of pyiqa's, with what a CAM asks of a `Baseline`; the weights are not copied.

    As in [44] the views of the smoothing multiply the *normalised* picture: that is what goes in
    here, and `forward` undoes it for pyiqa's network, which normalises inside. Where pyiqa averages
    over crops, one crop is judged: the whole picture, squeezed to a square.
    """

    def __init__(self, row: Explained, network: nn.Module, sign: int):
        super().__init__()
        self.row, self.sign = row, sign
        clip = getattr(network, "clip_model", [])  # in a plain list, where torch does not see it
        if row.crops:
            network = copy(network)  # shallow: pyiqa's own keeps its crops
            setattr(network, row.crops, 1)
        self.parts = nn.ModuleList([network, *clip])
        self.register_buffer("mean", network.default_mean.clone())  # 1x3x1x1
        self.register_buffer("std", network.default_std.clone())
        self.to(next(network.parameters()).device)
        self.eval()

    @property
    def last_layer(self) -> nn.Module:
        """The layer whose output is explained."""
        return self.layer(self.row.layer)["layer"]

    def layer(self, name: str) -> dict[str, nn.Module | str]:
        """Find a layer by its name in `PUBLISHED`: arguments for `lib.sources.cam_source`."""
        key = f"{self.row.metric} {name}, pyiqa {version('pyiqa')}, {VERSION}"
        return {"layer": self.parts[-1].get_submodule(name), "layer_name": key}

    def normalize(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Turn BxHxWx3 uint8 into the Bx3xHxW float that the layers of the network see."""
        pixels = torch.as_tensor(check_batch(images), device=self.mean.device).permute(0, 3, 1, 2)
        return (pixels.float() / 255 - self.mean) / self.std

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Quality of normalised images, turned so that higher is better: Bx3xHxW to (B,)."""
        if self.row.crops:
            x = F.interpolate(x, (WHOLE, WHOLE), mode="bilinear", antialias=True)
            x = F.pad(x, (0, 1, 0, 1))  # pyiqa enlarges what is not larger than its crops
        return self.sign * self.parts[0](x * self.std + self.mean).flatten()


def explain(metric: str, network: nn.Module, sign: int) -> Published | None:
    """Prepare pyiqa's network of a metric for a CAM, where `PUBLISHED` knows its layer."""
    row = next((row for row in PUBLISHED.values() if row.metric == metric), None)
    return Published(row, network, sign) if row else None
