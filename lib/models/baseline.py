"""The paper's Baseline (Section III-A): a backbone, global average pooling, and an MLP head."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lib.cache import write_atomically
from lib.models.backbones import create_backbone, torch_seed


class Baseline(nn.Module):
    """Predict the quality of an image: ``score(features(x))``.

    Parameters
    ----------
    backbone : str
        A name of `lib.models.backbones.BACKBONES`.
    weights : {"imagenet", "random"}
        How the trunk starts; the head always starts at random.
    hidden : int
        Width of the head's one hidden layer.
    seed : int
        Seed of everything that starts at random.
    """

    def __init__(
        self,
        backbone: str = "efficientnet_lite0",
        weights: str = "imagenet",
        hidden: int = 128,
        seed: int = 0,
    ):
        super().__init__()
        self.config = {"backbone": backbone, "hidden": hidden}
        self.backbone = create_backbone(backbone, weights, seed)
        with torch_seed(seed):
            self.head = nn.Sequential(
                nn.Linear(self.backbone.num_features, hidden), nn.GELU(), nn.Linear(hidden, 1)
            )
        pixels = self.backbone.pretrained_cfg
        self.register_buffer("mean", torch.tensor(pixels["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(pixels["std"]), persistent=False)
        self.eval()

    def normalize(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Turn BxHxWx3 uint8 into the Bx3xHxW float that the backbone was trained on."""
        pixels = torch.as_tensor(images, device=self.mean.device).float() / 255
        return ((pixels - self.mean) / self.std).permute(0, 3, 1, 2)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Last feature map A: Bx3xHxW to BxCx(H/32)x(W/32)."""
        return self.backbone.forward_features(x)

    def score(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Quality from the feature map: BxCxhxw to (B,); higher is better."""
        return self.head(feature_map.mean(dim=(2, 3))).squeeze(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Quality of normalised images: Bx3xHxW to (B,)."""
        return self.score(self.features(x))


def save(model: Baseline, path: Path, **about: str) -> None:
    """Write a model as safetensors: convolutions and matrices in half precision.

    Vectors (biases, batch-normalisation statistics) stay in single precision: they are few, and a
    running variance can exceed what half precision holds.
    """
    state = {
        name: (value.half() if value.is_floating_point() and value.dim() > 1 else value)
        for name, value in model.state_dict().items()
    }
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    # One entry: safetensors writes several in random order, and equal models shall be equal files.
    metadata = {"about": json.dumps({**model.config, **about}, sort_keys=True)}
    write_atomically(path, lambda temporary: save_file(state, temporary, metadata=metadata))


def load_baseline(path: Path) -> Baseline:
    """Read a model that `save` wrote; computing is in single precision.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, or is not such a model.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}; `make train` trains the project's models")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        model = Baseline(about["backbone"], weights="random", hidden=about["hidden"])
        model.load_state_dict(state)
    except Exception as error:
        raise ValueError(f"{path} is not a Baseline of this project ({error})") from error
    return model.eval()
