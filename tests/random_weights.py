"""Every metric of pyiqa's with random weights of the right shapes: what a download would fill."""

import contextlib
import importlib
import sys
from pathlib import Path

import pyiqa
import timm
import torch
import torchvision
from pyiqa.archs import clip_model, clipiqa_arch
from pyiqa.default_model_configs import DEFAULT_CONFIGS

# Of 20 to 50 crops a picture.
FEWER_CROPS = {"hyperiqa": "num_crop", "maniqa": "test_sample", "tres": "test_sample"}


def patch_downloads(monkeypatch, folder):
    """Let pyiqa build its networks without a download: each keeps the weights it starts with.

    Three metrics that crop look at one crop of a picture, and MANIQA has half of its layers.
    CLIP-IQA+ reads a file of its own: a random one is written to `folder`.
    """
    assert pyiqa.__version__ == "0.1.16", "see whether these are still all the ways to download"
    build = timm.create_model

    def create(model_name, **options):
        less = {"depth": 10} if model_name == "vit_base_patch8_224" else {}  # MANIQA: blocks 6 to 9
        return build(model_name, **options | {"pretrained": False} | less)

    monkeypatch.setattr(timm, "create_model", create)
    for option, value in {"num_tab": 1, "depths": [1, 1]}.items():  # of 2 each
        monkeypatch.setitem(DEFAULT_CONFIGS["maniqa"]["metric_opts"], option, value)
    for name in ("alexnet", "vgg16", "resnet18", "resnet50"):
        build_one = getattr(torchvision.models, name)
        monkeypatch.setattr(torchvision.models, name, lambda weights=None, build=build_one: build())
    for path in Path(pyiqa.archs.__file__).parent.glob("*_arch.py"):
        with contextlib.suppress(ImportError):  # pyiqa imports them late: patched for good
            importlib.import_module(f"pyiqa.archs.{path.stem}")
    for module in [m for name, m in sys.modules.items() if name.startswith("pyiqa.archs.")]:
        if hasattr(module, "load_pretrained_network"):
            monkeypatch.setattr(module, "load_pretrained_network", lambda *a, **options: None)
    for name, option in FEWER_CROPS.items():
        monkeypatch.setitem(DEFAULT_CONFIGS[name]["metric_opts"], option, 1)
    path = folder / "prompts.pth"
    torch.save(torch.nn.Parameter(torch.randn(2, 16, 512)), path)
    # CLIP with a ResNet-50; the numbers are OpenAI's.
    clip = clip_model.CLIP(1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12).eval()
    monkeypatch.setattr(clipiqa_arch, "load_file_from_url", lambda url: path)
    monkeypatch.setattr(clipiqa_arch, "load", lambda name, device: clip)
