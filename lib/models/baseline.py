"""The paper's networks: Baseline (Section III-A), and its two dual-task variants (Section III-C).

Baseline is a backbone, global average pooling (GAP) and an MLP head. `SalLoss` adds a decoder for
saliency. Baseline-GradCAM-Loss adds nothing and needs no class of its own: it is a Baseline whose
`saliency`, the GradCAM of its own score, was part of the loss while it was trained.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from lib.images import as_rgb, check_batch, network_size, resize_image
from lib.maps import normalize_sum, resize_map
from lib.models.backbones import create_backbone, torch_seed
from lib.paths import MEND
from lib.store import write_atomically


class Baseline(nn.Module):
    """Predict the quality of an image, ``score(features(x))``, and explain it by a map.

    `backbone` is a name of `lib.models.backbones.BACKBONES` that starts from `weights`, "imagenet"
    or "random"; the head, `hidden` wide, always starts at random, from `seed`.
    """

    kind = "Baseline"
    long_side = 384  # pixels, at which `predict` reads a picture

    def __init__(
        self, backbone: str = "efficientnet_lite0", weights: str = "imagenet", hidden=128, seed=0
    ):
        super().__init__()
        self.config = {"kind": self.kind, "backbone": backbone, "hidden": hidden}
        self.backbone = create_backbone(backbone, weights, seed)
        with torch_seed(seed):
            first, last = nn.Linear(self.backbone.num_features, hidden), nn.Linear(hidden, 1)
            self.head = nn.Sequential(first, nn.GELU(), last)
        pixels = self.backbone.pretrained_cfg
        self.register_buffer("mean", torch.tensor(pixels["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(pixels["std"]), persistent=False)
        self.eval()

    def normalize(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Turn BxHxWx3 uint8 into the Bx3xHxW float that the backbone was trained on."""
        pixels = torch.as_tensor(check_batch(images), device=self.mean.device).float() / 255
        return ((pixels - self.mean) / self.std).permute(0, 3, 1, 2)

    @property
    def last_layer(self) -> nn.Module:
        """The layer whose output is A."""
        return getattr(self.backbone, "bn2", None) or self.backbone.layer4  # a ResNet ends there

    @property
    def stages(self) -> list[nn.Module]:
        """The trunk in the order of its work: stem, stages, and (in an EfficientNet) its last."""
        t = self.backbone
        if hasattr(t, "blocks"):
            return [nn.Sequential(t.conv_stem, t.bn1), *t.blocks, nn.Sequential(t.conv_head, t.bn2)]
        stem = nn.Sequential(t.conv1, t.bn1, t.act1, t.maxpool)
        return [stem, t.layer1, t.layer2, t.layer3, t.layer4]

    def features(self, x: torch.Tensor, done: int = 0) -> torch.Tensor:
        """Last feature map A, BxCx(H/32)x(W/32), of Bx3xHxW, or of what `done` stages made."""
        return nn.Sequential(*self.stages[done:])(x)

    def read(self, batch: torch.Tensor, frozen: int = 0) -> torch.Tensor:
        """Return A of a batch from `lib.inputs`: of uint8 pixels, or of what frozen stages made."""
        if batch.dtype == torch.uint8:
            return self.features(self.normalize(batch))
        return self.features(batch.to(self.mean.device).permute(0, 3, 1, 2).float(), frozen + 1)

    def score(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Quality from the feature map: BxCxhxw to (B,); higher is better."""
        return self.head(feature_map.mean(dim=(2, 3))).squeeze(1)

    def channel_weights(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Return alpha, the spatial mean of dy/dA, detached: BxCxhxw to BxC.

        The head sees A through its spatial mean g alone, so dy/dA_kij = (dy/dg_k) / Z at each of
        the Z places, and so is its mean: one small backward pass through the head.
        """
        pooled = feature_map.detach().mean(dim=(2, 3))
        with torch.inference_mode(False), torch.enable_grad():
            pooled = pooled.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.head(pooled).sum(), pooled)
        return gradient / feature_map[0, 0].numel()

    def saliency(self, feature_map: torch.Tensor) -> torch.Tensor:
        """GradCAM of the score, ReLU(sum_k alpha_k A_k): BxCxhxw to Bxhxw, non-negative.

        Its gradient reaches A, and through it the backbone, but never the head (Section III-C).
        """
        alpha = self.channel_weights(feature_map)
        return Rectify.apply(torch.einsum("bk,bkij->bij", alpha, feature_map))

    def both(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Quality (B,) and saliency Bx(H/32)x(W/32) of normalised images, in one pass."""
        feature_map = self.features(x)
        return self.score(feature_map), self.saliency(feature_map)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Quality of normalised images: Bx3xHxW to (B,)."""
        return self.score(self.features(x))

    @torch.inference_mode()
    def predict(self, picture: object) -> tuple[float, np.ndarray]:
        """Judge a picture and say where people look in it, in one pass.

        Takes whatever `lib.images.as_rgb` takes, at any size. Returns the quality (higher is
        better) and the saliency, a density HxW float32 that sums to 1.
        """
        image = as_rgb(picture)
        small = resize_image(image, *network_size(image.shape[:2], self.long_side))
        score, saliency = self.both(self.normalize(small[None]))
        return score.item(), normalize_sum(resize_map(saliency[0].cpu().numpy(), image.shape[:2]))


class Rectify(torch.autograd.Function):
    """ReLU whose gradient also reaches cells below zero, where the loss asks for more there.

    An ordinary ReLU passes none: a map that starts below zero everywhere would never learn.
    """

    @staticmethod
    def forward(context, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        context.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(context, grad: torch.Tensor) -> torch.Tensor:  # noqa: D102
        above = context.saved_tensors[0] > 0
        return grad * (above | (grad < 0))  # above zero, or where the map ought to grow


class SalLoss(Baseline):
    """Baseline-Sal-Loss: a 1x1 convolution and a sigmoid read saliency off the last feature map."""

    kind = "Sal-Loss"

    def __init__(self, *args: object, seed: int = 0, **options: object):
        super().__init__(*args, seed=seed, **options)
        with torch_seed(seed + 1):  # the trunk and the head are then those of a Baseline's seed
            self.decoder = nn.Conv2d(self.backbone.num_features, 1, kernel_size=1)

    def saliency(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Decode saliency: BxCxhxw to Bxhxw, from 0 to 1."""
        return self.decoder(feature_map).squeeze(1).sigmoid()


KINDS = {network.kind: network for network in (Baseline, SalLoss)}


def save(model: Baseline, path: Path, **about: object) -> None:
    """Write a model as safetensors: convolutions and matrices in half precision.

    Vectors (biases, batch-normalisation statistics) stay in single precision: they are few, and a
    running variance can exceed what half precision holds.
    """
    state = {n: v.half() if v.dim() > 1 else v for n, v in model.state_dict().items()}
    state = {n: v.cpu().contiguous() for n, v in state.items()}
    # One entry: safetensors writes several in random order, and equal models shall be equal files.
    metadata = {"about": json.dumps({**model.config, **about}, sort_keys=True)}
    content = to_bytes(state, metadata)  # its own writing has an error of its own for a full disk
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def load_baseline(path: Path) -> Baseline:
    """Read a model of any of `KINDS` that `save` wrote, and `about` it; in single precision."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        model = KINDS[about["kind"]](about["backbone"], "random", about["hidden"])
        model.load_state_dict(state)
        model.about = about
    except Exception as error:
        raise ValueError(f"{path} is not a Baseline of this project ({error}); {MEND}") from error
    return model.eval()
