"""The project's models by name."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from lib.models.baseline import Baseline, load_baseline
from lib.paths import cache_dir, data_dir, weights_dir

DUAL_TASK = "gradcam-loss-lite0"  # the network behind `load("dual-task")`
# name -> long side, pixels, at which `predict` reads a picture: what it was trained at
SHIPPED = {"baseline-lite0": 384, "baseline-lite1": 384, "sal-loss-lite0": 320, DUAL_TASK: 320}
# Made by `make train` where they are needed; the first from BIQ2021, the paper's from its own data.
PAPER = {"baseline-b0": 384, "baseline-resnet50": 384, "sal-loss-b0": 384, "gradcam-loss-b0": 384}
REMADE = {"control-synthetic": 384} | PAPER
FETCH = "run `make data PROFILE=paper`, or put it there by hand"  # a published network's file


def weights_path(name: str) -> Path:
    """Return where the weights of `name` are: shipped in `weights/`, else rebuilt in the cache."""
    shipped = weights_dir() / f"{name}.safetensors"
    return shipped if shipped.is_file() else cache_dir() / "weights" / shipped.name


def load(name: str) -> Baseline:
    """Load one of our networks, with its `predict(picture)`; FileNotFoundError: how to make it."""
    name = DUAL_TASK if name == "dual-task" else name
    if name not in (known := SHIPPED | REMADE):
        raise ValueError(f"there is no model {name!r}; choose one of {', '.join(known)}")
    if not (path := weights_path(name)).is_file():
        source = f"people's data (see `make data PROFILE={'paper' if name in PAPER else 'open'}`)"
        mend = f"`make train MODEL={name}` makes them from {source}"
        raise FileNotFoundError(f"no weights of {name!r} at {path}; {mend}")
    network = load_baseline(path)
    network.long_side = known[name]
    return network


def load_published(
    build: Callable[[], nn.Module], file: str, read: Callable[[Path], dict], mend: str = FETCH
) -> nn.Module:
    """Load its authors' `file`, of which `read` makes a state dict; an OSError has the `mend`."""
    name = file.rpartition(".")[0]
    path = data_dir() / "checkpoints" / name / file
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; {mend}")
    try:
        state = read(path)
        with torch.device("meta"):  # no random weights first
            network = build()
        if odd := sorted(state.keys() ^ network.state_dict().keys()):
            raise ValueError(f"{len(odd)} entries too many or too few, first {odd[0]}")
        network.load_state_dict(state, assign=True)
    except Exception as error:
        what = " ".join(str(error).split())[:200]  # torch's messages have many lines
        raise OSError(f"{path} is not {name}; download it again ({what})") from error
    return network.eval()
