"""SGDNet in torch is the authors' Keras network, read from a file in their layout."""

import zlib

import h5py
import numpy as np
import pytest
import torch
from skimage.data import coffee

from lib import iqa
from lib.models import sgdnet
from lib.models.sgdnet import VARIANTS, SGDNet, load_sgdnet, main, read_keras

# Of Keras 3 (TensorFlow, CPU): the network built in its functional API from the description in
# `lib.models.sgdnet`, the arrays of `keras_arrays`, and the picture of `pattern`.
GOLDEN = {"output": -843354.4375, "none": -206.74180603027344}


def pattern():
    """An odd-sized picture: 75x101."""
    y, x = np.mgrid[:75, :101]
    channels = [(3 * x + 5 * y) % 256, (x * y) % 251, (7 * x + y * y) % 241]
    return np.stack(channels, axis=-1).astype(np.uint8)


def keras_arrays(layer, shapes):
    """Arrays that depend on nothing but the layer's name."""
    rng = np.random.default_rng(zlib.crc32(layer.encode()))
    if len(shapes) == 4:  # gamma, beta, mean, variance
        gain = 0.2 if layer.endswith("2c") else 1.0
        n = shapes[0]
        means = rng.uniform(0.8, 1.2, n), rng.normal(0, 0.1, n), rng.normal(0, 0.1, n)
        return [gain * means[0], *means[1:], rng.uniform(0.5, 1.5, n)]
    kernel = rng.normal(0, np.sqrt(2 / np.prod(shapes[0][:-1])), shapes[0])
    kernel = np.abs(kernel) if layer == "saliency" else kernel
    return [kernel, *(rng.normal(0, 0.1, shape) for shape in shapes[1:])]


def keras_layers(variant):
    """Layer to shapes, in Keras' order of axes."""
    layers = {"conv1": [(7, 7, 3, 64), (64,)], "bn_conv1": [(64,)] * 4}
    channels = 64
    for stage, (count, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), 2):
        for block in "abcdef"[:count]:
            convolutions = {
                "2a": (1, 1, channels, width),
                "2b": (3, 3, width, width),
                "2c": (1, 1, width, 4 * width),
            }
            if block == "a":
                convolutions["1"] = (1, 1, channels, 4 * width)
            for branch, shape in convolutions.items():
                layers[f"res{stage}{block}_branch{branch}"] = [shape, shape[-1:]]
                layers[f"bn{stage}{block}_branch{branch}"] = [shape[-1:]] * 4
            channels = 4 * width
    layers["conv2d_1"] = [(1, 1, 2048, 512)]
    layers |= {"dense_1": [(512, 128), (128,)], "dense_2": [(128, 512), (512,)]}
    if variant == "output":
        layers["saliency"] = [(1, 1, 512, 1)]
    heads = {"fc1": (512, 1024), "fc2": (1024, 1024), "predictions": (1024, 1)}
    return layers | {name: [shape, shape[1:]] for name, shape in heads.items()}


def write_keras(path, layers, whole=True):
    """Write a file as Keras does: a whole model, or its weights alone."""
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if whole else file
        group.attrs["layer_names"] = [b"input_1", *(name.encode() for name in layers)]
        group.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, shapes in layers.items():
            names = [f"{name}/array_{number}:0" for number in range(len(shapes))]
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [n.encode() for n in names]
            for key, array in zip(names, keras_arrays(name, shapes), strict=True):
                layer[key] = array.astype(np.float32)
    return path


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_is_keras(variant, tmp_path):
    path = write_keras(tmp_path / "keras.pkl", keras_layers(variant))
    network = SGDNet(variant)
    network.load_state_dict(read_keras(path, variant))
    assert network.score(pattern()[None])[0] == pytest.approx(GOLDEN[variant], rel=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_random_weights_it_scores_a_picture_end_to_end(variant, tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))
    path = tmp_path / "weights" / f"sgdnet-{variant}.safetensors"
    path.parent.mkdir()
    sgdnet.save_file(SGDNet(variant, seed=1).state_dict(), path)
    metric = iqa.metric({"none": "SGDNet-None", "output": "SGDNet-Output"}[variant])
    images = np.stack([coffee()[:199, :301], coffee()[200:399, :301]])
    scores = metric.score(images)
    assert np.isfinite(scores).all() and scores[0] != scores[1] and not metric.lower_better
    np.testing.assert_allclose(metric.score(images[1:]), scores[1:], rtol=1e-5)


def test_the_output_variant_has_a_map_a_32nd_of_the_size():
    with torch.no_grad():
        score, saliency = SGDNet("output")(torch.zeros(2, 3, 97, 130))
        assert score.shape == (2,) and saliency.shape == (2, 4, 5) and (saliency >= 0).all()
        assert SGDNet("none")(torch.zeros(1, 3, 64, 64))[1] is None
    with pytest.raises(ValueError, match="variant must be one of none, output"):
        SGDNet("input")


def test_one_command_converts_what_the_authors_publish(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"drive.google.com.* lib.models.sgdnet FILE"):
        load_sgdnet("output")
    with pytest.raises(FileNotFoundError, match="publish none that we know of"):
        load_sgdnet("none")
    path = write_keras(tmp_path / "weights.pkl", keras_layers("output"), whole=False)
    assert main([str(path)]) == 0
    assert "wrote" in capsys.readouterr().out
    assert load_sgdnet("output").score(pattern()[None])[0] == pytest.approx(
        GOLDEN["output"], rel=1e-4
    )
    (tmp_path / "weights/sgdnet-output.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"is not SGDNet-output .* convert it again"):
        load_sgdnet("output")


def without(name):
    return lambda layers: {k: v for k, v in layers.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("fc2"), "lacks 2 entries of SGDNet-output: fc2.bias"),
        (lambda layers: layers | {"fc3": [(1024, 1), (1,)]}, "has no fc3.weight"),
        (lambda layers: layers | {"fc1": [(512, 512), (512,)]}, r"layer fc1 .* \(512, 512\) for"),
        (without("saliency"), "lacks 1 entries of SGDNet-output: saliency.weight"),
    ],
)
def test_another_network_is_refused(change, message, tmp_path, capsys):
    path = write_keras(tmp_path / "other.h5", change(keras_layers("output")))
    with pytest.raises(ValueError, match=message):
        read_keras(path, "output")
    assert main([str(path)]) == 1 and "error: " in capsys.readouterr().err


def test_what_is_no_keras_file_is_refused(tmp_path):
    (tmp_path / "page.pkl").write_text("<html>quota exceeded</html>")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = [1, 2]
    for name in ("page.pkl", "other.h5", "nothing.pkl"):
        with pytest.raises(ValueError, match="is not a Keras model in HDF5"):
            read_keras(tmp_path / name, "output")
