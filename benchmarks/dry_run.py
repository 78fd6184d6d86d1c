"""``make reproduce PROFILE=paper DRY_RUN=1``: the paper's profile on tiny data and random weights.

Every notebook runs with the profile's own parameters but for those of `SMALL`, on trees in the true
layouts, in ``build/dry-run``. It shows that the way is free, not where it leads: the pictures are
noise, the networks have learned nothing, and every figure says "dry run".
"""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lib.codec import TEST_CASES
from lib.data.checkpoints import SOURCE
from lib.models.sgdnet import SGDNet
from lib.models.transalnet import TranSalNet
from lib.paths import ROOT
from tests.msinet_tensorflow import official_shapes, weights
from tests.paper_trees import picture, write_cat2000, write_clive, write_koniq, write_salicon

SCRATCH = ROOT / "build" / "dry-run"
FOLDERS = {"DATA_DIR": "data", "CACHE_DIR": "cache", "FIGURES_DIR": "figures"}
FOLDERS = {name: str(SCRATCH / folder) for name, folder in FOLDERS.items()}
ENVIRONMENT = {**os.environ, **FOLDERS, "OMP_NUM_THREADS": "1"}
CAPTURE = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
ORDER = ("05", "01", "02", "03", "04", "00")  # the longest first, two at a time
NUMBERS = [f"{number:012}" for number in (42, 133)]
STUDY = {"VOTES_PER_PAIR": 12, "ASSESSORS": 60, "STUDIES": 1}
SMALL = {"00": {}, "04": STUDY | {"EXAMPLES": [0, 1]}, "05": STUDY}
SMALL["01"] = {"FOLDS": 2, "ABLATION_IMAGES": 2, "FIGURE_IMAGES": [0], "AUG_SMOOTH": False}
SMALL["01"] |= {"INPUT_LONG_SIDE": 96}
SMALL["02"] = {"IMAGES": 3, "TWELFTHS": [0, 6, 12], "FILLS": ["black"], "LONG_SIDE": 64}
SMALL["02"] |= {"GAZE_IMAGES": 2, "EXAMPLES": [0], "RESAMPLES": 20}
SMALL["03"] = {"REPEATS": 2, "EPOCHS": 1, "BATCH_SIZE": 4, "IMAGE_SIZE": 64, "CROP_SIZE": 32}
SMALL["03"] |= {"INPUT_LONG_SIDE": 64, "FIGURE_IMAGES": [0]}


def write_data(root: Path) -> None:
    """Write the profile's five data sets, a few pictures each, none of them large."""
    rng = np.random.default_rng(0)
    people = [rng.integers(1, (160, 120), (5, 2)) for _ in range(3)]
    write_salicon(root / "salicon", people, {"val": NUMBERS}, (160, 120))
    places = rng.integers(0, (192, 108), (9, 2))
    write_cat2000(root / "cat2000", places, ("Action/001", "Sketch/001"), (192, 108))
    parts = ("train", "val", "test", "test", "test")
    photographs = [(f"{n}.jpg", rng.uniform(5, 90), parts[n % 5]) for n in range(8)]
    write_koniq(root / "koniq", photographs, sizes={"1024x768": (128, 96)})
    write_clive(root / "clive", names=["t1.bmp", "7.bmp", "8.bmp", "9.JPG"], size=(100, 100))
    rows = []
    for sequence in ("a", "b"):
        picture(root / "sacid" / "reference" / f"{sequence}.png", (168, 168), 6)
        gray = root / "sacid" / "saliency" / f"{sequence}.png"
        picture(gray, (168, 168), 6)
        Image.open(gray).convert("L").save(gray)
        pixels = Image.open(root / "sacid" / "reference" / f"{sequence}.png")
        (root / "sacid" / "compressed" / sequence).mkdir(parents=True)
        for case, quality in zip(TEST_CASES, range(5, 65, 5), strict=True):
            pixels.save(root / "sacid" / "compressed" / sequence / f"{case}.jpg", quality=quality)
            rows.append((sequence, case, quality / 10 + rng.normal()))
    table = pd.DataFrame(rows, columns=["sequence", "test_case", "subjective_score"])
    table.to_csv(root / "sacid" / "moses.csv", index=False)
    (root / "sacid" / "about.json").write_text('{"name": "SACID", "kind": "made-up scores"}')


def field(number: int, value: bytes | int) -> bytes:
    """Write a field of a protocol buffer."""

    def varint(n: int) -> bytes:
        return bytes([n]) if n < 128 else bytes([n % 128 + 128]) + varint(n // 128)

    if isinstance(value, int):
        return varint(8 * number) + varint(value)
    return varint(8 * number + 2) + varint(len(value)) + value


def frozen_graph(arrays: dict[str, np.ndarray]) -> bytes:
    """Write constants as TensorFlow's GraphDef has them."""
    nodes = []
    for name, array in arrays.items():
        shape = b"".join(field(2, field(1, side)) for side in array.shape)
        tensor = field(1, 1) + field(2, shape) + field(4, array.astype("<f4").tobytes())
        attribute = field(5, field(1, b"value") + field(2, field(8, tensor)))
        nodes.append(field(1, field(1, name.encode()) + field(2, b"Const") + attribute))
    return b"".join(nodes)


def write_keras(network: torch.nn.Module, path: Path) -> None:
    """Write a network's weights under Keras' names and in its order of axes."""
    names = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    state = network.state_dict()
    with h5py.File(path, "w") as file:
        for key, tensor in state.items():
            layer, _, name = key.rpartition(".")
            if f"{layer}.running_mean" in state:
                name = {"weight": "gamma", "bias": "beta", **names}.get(name, "")
            name = "kernel" if name == "weight" else name
            axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.dim(), (0,))
            if name:  # Keras counts no batches
                file[f"{layer}/{layer}/{name}:0"] = tensor.numpy().transpose(axes)


def write_checkpoints(root: Path) -> None:
    """Write the authors' files with random weights of the true names and shapes."""
    files = {name: root / name / source.files[""] for name, source in SOURCE.items()}
    files["sgdnet-none"] = root / "sgdnet-none" / "sgdnet-none.h5"
    for path in files.values():
        path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    files["msi-net"].write_bytes(frozen_graph(weights(official_shapes())))
    for variant in ("res", "dense"):
        torch.save(TranSalNet(variant).state_dict(), files[f"transalnet-{variant}"])
    for variant in ("output", "none"):  # nobody publishes the second
        write_keras(SGDNet(variant), files[f"sgdnet-{variant}"])


class Through(torch.nn.Module):
    """Hands on what comes: in place of the attention and the MLP of a large ViT."""

    def forward(self, x: torch.Tensor, **_: object) -> torch.Tensor:  # noqa: D102
        return x


def thin_out() -> None:
    """Make metrics cheap; let PaQ2PiQ run where torchvision's binary does not load.

    What costs most stands aside: attention in transformers, AHIQ's deformable convolution.
    """
    from pyiqa.archs import ahiq_arch, clipiqa_arch, maniqa_arch, paq2piq_arch
    from pyiqa.default_model_configs import DEFAULT_CONFIGS
    from pyiqa.models.inference_model import InferenceModel
    from torch.nn import functional as F

    from lib import iqa

    small = {"ahiq": {"pretrained": False, "num_crop": 1}}  # of twenty
    small["tres"] = {"network": "resnet18", "num_encoder_layerst": 1}
    small |= {"maniqa": {"depths": [1, 1]}, "musiq": {"num_layers": 2}}
    small["pieapp"] = {"stride": 160}  # four patches of many
    for name, options in small.items():
        DEFAULT_CONFIGS[name]["metric_opts"] |= options
    text = clipiqa_arch.load("", "").transformer
    text.resblocks = text.resblocks[:2]  # of twelve, run anew for every picture
    prepare, judge = InferenceModel._prepare_inputs, InferenceModel.forward

    def learned(metric: InferenceModel) -> bool:
        return next(metric.net.parameters(), None) is not None

    def shrink(self: InferenceModel, *pair: object) -> list:
        pair, small = prepare(self, *pair), learned(self)
        return [F.interpolate(x, (64, 64)) if small and x is not None else x for x in pair]

    def once(self: InferenceModel, target: torch.Tensor, *rest: object, **more: object) -> object:
        if learned(self) and hasattr(self, "judged"):
            return target.mean(dim=(1, 2, 3))  # as good as what random weights say of noise
        self.judged = True
        return judge(self, target, *rest, **more)

    InferenceModel._prepare_inputs = shrink  # SACID's pictures are as large as MS-SSIM wants
    InferenceModel.forward = once  # each network judges one batch in earnest
    maniqa_arch.TABlock.forward = Through.forward
    ahiq_arch.DeformFusion.forward = lambda self, x, _: F.avg_pool2d(x, 2)  # of the shape it gives
    normalize, size = ahiq_arch.AHIQ.preprocess, (224, 224)  # what its ViT takes
    ahiq_arch.AHIQ.preprocess = lambda self, x: F.interpolate(normalize(self, x), size)
    if iqa.ensure_torchvision_imports():
        iqa.ensure_torchvision_imports = lambda: False
        paq2piq_arch.RoIPool.forward = lambda self, x, _: F.adaptive_max_pool2d(x, 2)


def in_kernel() -> None:
    """Prepare a kernel: no download, small sizes where no parameter has them, stamped figures."""
    import timm

    from lib import plots, weights
    from lib.models import msinet, published

    published.LONG_SIDE, msinet.FRAME = 64, (48, 64)
    if os.environ["PYIQA"]:
        from tests.random_weights import patch_downloads

        patch_downloads(pytest.MonkeyPatch(), SCRATCH)
        thin_out()
    build = timm.create_model

    def create(*rest: object, **options: object) -> torch.nn.Module:
        model = build(*rest, **options | {"pretrained": False})
        for block in getattr(model, "blocks", []):  # a ViT of 785 tokens takes seconds a picture
            if hasattr(block, "attn"):
                block.norm1 = block.attn = block.norm2 = block.mlp = Through()
        return model

    timm.create_model = create
    recipe = {k.lower(): v for k, v in SMALL["03"].items() if k.endswith("SIZE") or k == "EPOCHS"}
    for name, spec in weights.TRAINED.items():
        if spec.lessons:
            lessons = replace(spec.lessons, repeats=SMALL["03"]["REPEATS"])
            small = replace(spec.recipe, **recipe)
            weights.TRAINED[name] = replace(spec, recipe=small, lessons=lessons)
    save = plots.save_figure

    def save_stamped(figure: object, name: str, profile: str, text: str, column: float = 0) -> None:
        assert "dry run" in text, f"{name} does not say that it is a dry run"
        save(figure, name, profile, text, column)

    plots.save_figure = save_stamped


def execute(notebook: Path) -> None:
    """Run a notebook through the front door."""
    number, start = notebook.name[:2], time.monotonic()
    command = [sys.executable, "-m", "lib", "run", "--profile", "paper", str(notebook)]
    command += ["--output", str(SCRATCH), "--set", "PROFILE=dry run"]
    for name, value in SMALL[number].items():
        command += ["--set", f"{name}={value}"]
    own = {"PYIQA": "yes" if number in ("01", "02", "05") else ""}
    own["IPYTHONDIR"] = str(SCRATCH / ("plain" if number == "00" else "ipython"))  # 00 only shows
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT | own, **CAPTURE)
    if done.returncode:
        raise SystemExit(done.stdout[-4000:])
    print(f"{notebook.name}: {time.monotonic() - start:.0f} s", flush=True)


def main(notebooks: list[Path]) -> None:
    """Write data and weights, then run the notebooks on them, two at a time."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    startup = SCRATCH / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "dry_run.py").write_text(
        "import benchmarks.dry_run\nbenchmarks.dry_run.in_kernel()\n"
    )
    write_data(SCRATCH / "data")
    write_checkpoints(SCRATCH / "data" / "checkpoints")
    notebooks = notebooks or sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    notebooks = [path for path in notebooks if path.name[:2] in ORDER]  # 06 reads none of this
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(execute, sorted(notebooks, key=lambda path: ORDER.index(path.name[:2]))))
    print(f"tables and figures: {SCRATCH / 'figures' / 'dry run'}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
