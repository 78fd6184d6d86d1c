"""SGDNet in torch is the authors' Keras network, under its own names, read from its own file."""

import csv
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from lib import iqa
from lib.models.sgdnet import VARIANTS, SGDNet, load_sgdnet, read_keras

# Of Keras 3 (TensorFlow, CPU): the network built in its functional API from the description in
# `lib.models.sgdnet`, the arrays of `keras_arrays`, and the picture of `pattern`.
GOLDEN = {"output": -843354.4375, "none": -206.74180603027344}


def official(variant):
    """Names and shapes of the authors' checkpoint: layer to {name: shape}."""
    layers = {}
    with Path(__file__).with_name("sgdnet_keys.csv").open() as file:
        for row in csv.DictReader(file):
            if variant in row["variants"].split():
                layer, name = row["key"].split("/")[0], row["key"].split("/")[-1]
                layers.setdefault(layer, {})[name] = tuple(map(int, row["shape"].split("x")))
    return layers


def pattern():
    """An odd-sized picture: 75x101."""
    y, x = np.mgrid[:75, :101]
    channels = [(3 * x + 5 * y) % 256, (x * y) % 251, (7 * x + y * y) % 241]
    return np.stack(channels, axis=-1).astype(np.uint8)


def keras_arrays(layer, shapes):
    """Arrays that depend on nothing but the layer's name."""
    rng = np.random.default_rng(zlib.crc32(layer.encode()))
    if len(shapes) == 4:  # gamma, beta, mean, variance
        gain, n = 0.2 if layer.endswith("2c") else 1.0, shapes[0]
        means = rng.uniform(0.8, 1.2, n), rng.normal(0, 0.1, n), rng.normal(0, 0.1, n)
        return [gain * means[0], *means[1:], rng.uniform(0.5, 1.5, n)]
    kernel = rng.normal(0, np.sqrt(2 / np.prod(shapes[0][:-1])), shapes[0])
    kernel = np.abs(kernel) if layer == "saliency" else kernel
    return [kernel, *(rng.normal(0, 0.1, shape) for shape in shapes[1:])]


def write_keras(path, layers, whole=True):
    """Write a file as Keras does: a whole model, or its weights alone."""
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if whole else file
        for layer, entries in layers.items():
            for name, array in zip(entries, keras_arrays(layer, [*entries.values()]), strict=True):
                group[f"{layer}/{layer}/{name}"] = array.astype(np.float32)
    return path


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_is_keras_under_its_names_and_scores_as_a_metric(variant, checkpoint):
    path = checkpoint(f"sgdnet-{variant}.h5")
    write_keras(path, official(variant), whole=variant == "output")
    network = SGDNet(variant)
    ours = {k: v.shape for k, v in network.state_dict().items()}
    assert {k: v.shape for k, v in read_keras(path).items()} == ours
    assert sum("tracked" not in k for k in ours) == {"none": 329, "output": 330}[variant]
    parameters = {"none": 26_290_817, "output": 26_291_329}[variant]
    assert sum(p.numel() for p in network.parameters()) == parameters
    iqa.metric.cache_clear()
    metric = iqa.metric(f"SGDNet-{variant.title()}")
    assert metric(pattern()[None])[0] == pytest.approx(GOLDEN[variant], rel=1e-4)
    assert metric.sign == 1 and metric.network is None
    iqa.metric.cache_clear()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda layers: layers.pop("saliency"), "saliency"),
        (lambda layers: layers.update(fc3={"kernel:0": (1024, 1), "bias:0": (1,)}), "fc3"),
        (lambda layers: layers.update(fc1={"kernel:0": (512, 512), "bias:0": (512,)}), "size"),
    ],
)
def test_another_network_is_refused(change, said, checkpoint):
    change(layers := official("output"))
    write_keras(checkpoint("sgdnet-output.h5"), layers)
    with pytest.raises(OSError, match=f"(?s)is not sgdnet-output; download it again.*{said}"):
        load_sgdnet("output")


def test_what_is_missing_or_no_keras_file_is_named(checkpoint):
    for variant, mend in {"output": "run `make data PROFILE", "none": "no published file"}.items():
        with pytest.raises(FileNotFoundError, match=f"sgdnet-{variant}.h5 is not there; {mend}"):
            load_sgdnet(variant)
    checkpoint("sgdnet-none.h5").write_text("<html>quota exceeded</html>")
    assert "is not sgdnet-none" in iqa.available(["SGDNet-None"])[1]["SGDNet-None"]
