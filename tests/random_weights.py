"""Every metric of pyiqa's with random weights of the right shapes: what a download would fill."""

import sys

import numpy as np
import pyiqa
import timm
import torch
import torchvision
from pyiqa.archs import ahiq_arch, clip_model, clipiqa_arch
from pyiqa.default_model_configs import DEFAULT_CONFIGS

# Of 20 to 50 crops a picture; AHIQ takes the whole picture for its only crop.
FEWER_CROPS = {
    "ahiq": {"num_crop": 2},
    "hyperiqa": {"num_crop": 1},
    "maniqa": {"test_sample": 1},
    "tres": {"test_sample": 1},
}


def patch_downloads(monkeypatch, folder):
    """Let pyiqa build its networks without a download: each keeps the weights it starts with.

    The four metrics that crop look at one or two crops of a picture. AHIQ and CLIP-IQA+ read files
    of their own: random ones are written to `folder`.
    """
    assert pyiqa.__version__ == "0.1.16", "see whether these are still all the ways to download"
    create_model = timm.create_model
    monkeypatch.setattr(
        timm,
        "create_model",
        lambda *a, **options: create_model(*a, **options | {"pretrained": False}),
    )
    for name in ("alexnet", "vgg16", "resnet18", "resnet50"):
        build = getattr(torchvision.models, name)
        monkeypatch.setattr(torchvision.models, name, lambda weights, build=build: build())
    for module in [m for name, m in sys.modules.items() if name.startswith("pyiqa.archs.")]:
        if hasattr(module, "load_pretrained_network"):
            monkeypatch.setattr(module, "load_pretrained_network", lambda *a, **options: None)
    for name, options in FEWER_CROPS.items():
        for option, crops in options.items():
            monkeypatch.setitem(DEFAULT_CONFIGS[name]["metric_opts"], option, crops)

    def ahiq_checkpoint(url):
        path = folder / "ahiq.pth"
        parts = {
            "regressor_model_state_dict": ahiq_arch.Pixel_Prediction().state_dict(),
            "deform_net_model_state_dict": ahiq_arch.DeformFusion().state_dict(),
        }
        torch.save(parts | {"epoch": 33, "loss": np.mean([0.5, 0.25])}, path)
        return path

    def learned_prompts(url):
        path = folder / "prompts.pth"
        torch.save(torch.nn.Parameter(torch.randn(2, 16, 512)), path)
        return path

    monkeypatch.setattr(ahiq_arch, "load_file_from_url", ahiq_checkpoint)
    monkeypatch.setattr(clipiqa_arch, "load_file_from_url", learned_prompts)
    monkeypatch.setattr(clipiqa_arch, "load", lambda name, device: clip_rn50())


def clip_rn50():
    """CLIP with a ResNet-50, at random (the numbers are OpenAI's)."""
    return clip_model.CLIP(
        embed_dim=1024,
        image_resolution=224,
        vision_layers=(3, 4, 6, 3),
        vision_width=64,
        vision_patch_size=None,
        context_length=77,
        vocab_size=49408,
        transformer_width=512,
        transformer_heads=8,
        transformer_layers=12,
    ).eval()
