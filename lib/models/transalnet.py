"""TranSalNet, the best saliency network of Table I [3], in its two variants.

J. Lou, H. Lin, D. Marshall, D. Saupe, H. Liu, "TranSalNet: Towards perceptually relevant visual
saliency prediction", Neurocomputing 494, 2022; github.com/LJOVO/TranSalNet. Layers have its names.
The last three stages of a ResNet-50 or DenseNet-161 each pass a transformer, so that every place
sees the whole picture; a decoder multiplies them together from coarse to fine.

A picture is fitted into 288x384 on ones (of 255). Pixels are R, G, B over 255, as where the authors
train, and no more: nothing there calls the transform with ImageNet's mean. (Their test is B, G, R.)
"""

from collections import OrderedDict
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from lib.images import as_rgb, center_in, crop_center, scaled
from lib.models import load_published

FRAME, FILL = (288, 384), 1  # height and width; what is around the picture
# Stages of the trunk, fine to coarse: its module's number, channels.
STAGES = {"res": {5: 512, 6: 1024, 7: 2048}, "dense": {6: 768, 8: 2112, 10: 2208}}
TOKENS = (36 * 48, 18 * 24, 9 * 12)  # places of each stage
HIDDEN, HEADS, LAYERS = (512, 768, 768), (8, 12, 12), 2  # of its transformer
DECODER = (768, 768, 512, 256, 128, 64, 32, 1)  # channels before, between and after convolutions


class Attention(nn.Module):
    """Multi-head self-attention of tokens, BxTxC to BxTxC."""

    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        for name in ("query", "key", "value", "out"):
            self.add_module(name, nn.Linear(hidden, hidden))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:  # noqa: D102
        each = (layer(tokens) for layer in (self.query, self.key, self.value))
        q, k, v = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in each)  # BxHxTx(C/H)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and two linear layers, each on normalised tokens beside a shortcut: BxTxC."""

    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.attention_norm, self.ffn_norm = (nn.LayerNorm(hidden, eps=1e-6) for _ in range(2))
        self.attn = Attention(hidden, heads)
        first, second = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)
        self.ffn = nn.Sequential(OrderedDict(fc1=first, gelu=nn.GELU(), fc2=second))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x = x + self.attn(self.attention_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class TransEncoder(nn.Module):
    """A stage through a transformer, a token each place: BxCxhxw to Bx`hidden`xhxw."""

    def __init__(self, channels: int, tokens: int, hidden: int, heads: int):
        super().__init__()
        self.patch_embeddings = nn.Conv2d(channels, hidden, 1)
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, hidden))
        blocks = nn.Sequential(*(Block(hidden, heads) for _ in range(LAYERS)))
        layers = OrderedDict(layer=blocks, encoder_norm=nn.LayerNorm(hidden, eps=1e-6))
        self.transformer_encoder = nn.Sequential(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        tokens = self.patch_embeddings(x).flatten(2).mT + self.position_embeddings  # BxTxC
        return self.transformer_encoder(tokens).mT.unflatten(2, x.shape[2:])


class TranSalNet(nn.Module):
    """The network, in the variant "res" or "dense"; its weights start at random."""

    def __init__(self, variant: str):
        super().__init__()
        self.stages = STAGES[variant]
        trunk = models.resnet50().children() if variant == "res" else models.densenet161().features
        used = nn.ModuleList(list(trunk)[: max(self.stages) + 1])
        self.encoder = nn.ModuleDict({"encoder": used})
        layers = {f"batchnorm{i}": nn.BatchNorm2d(n) for i, n in enumerate(DECODER[1:-1], start=1)}
        for i, channels in enumerate(pairwise(DECODER), start=1):
            layers[f"conv{i}"] = nn.Conv2d(*channels, 3, padding=1)
        for i, stage in enumerate(zip(self.stages.values(), TOKENS, HIDDEN, HEADS, strict=True)):
            layers[f"TransEncoder{3 - i}"] = TransEncoder(*stage)  # 1 is the coarsest
        self.decoder = nn.ModuleDict(layers)
        self.eval()

    def _run(self, i: int, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.decoder[f"batchnorm{i}"](self.decoder[f"conv{i}"](x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Saliency of pictures from 0 to 1: Bx3x288x384 to Bx1x288x384, from 0 to 1."""
        kept = []
        for i, module in enumerate(self.encoder["encoder"]):
            x = module(x)
            if i in self.stages:
                kept.append(x)
        coarse, middle, fine = (self.decoder[f"TransEncoder{i}"](kept[3 - i]) for i in (1, 2, 3))
        double = partial(F.interpolate, scale_factor=2, mode="nearest")
        x = double(self._run(1, coarse))  # Bx768x18x24
        x = double(self._run(2, F.relu(x * middle)))  # Bx512x36x48
        x = double(self._run(3, F.relu(x * fine)))  # Bx256x72x96
        x = double(self._run(5, double(self._run(4, x))))  # Bx64x288x384
        return self.decoder["conv7"](self._run(6, x)).sigmoid()

    @torch.inference_mode()
    def predict(self, picture: object) -> np.ndarray:
        """Saliency map HxW float32, 0 to 1, of whatever `lib.images.as_rgb` takes, at any size."""
        shape = (image := as_rgb(picture)).shape[:2]
        inside, around = scaled(shape, FRAME, min, int), scaled(FRAME, shape, max, int)
        x = center_in(cv2.resize(image, inside[::-1]), FRAME, FILL)  # bilinear, both times
        x = torch.from_numpy(x).to(next(self.parameters()).device).permute(2, 0, 1)[None] / 255
        return crop_center(cv2.resize(self(x)[0, 0].cpu().numpy(), around[::-1]), shape)


def load_transalnet(variant: str) -> TranSalNet:
    """Load the authors' ``transalnet-<variant>.pth``; an OSError says how to get it."""
    read = partial(torch.load, map_location="cpu", weights_only=True)
    return load_published(partial(TranSalNet, variant), f"transalnet-{variant}.pth", read)
