"""MSI-Net and TranSalNet are their authors' networks, under their names, read from their files."""

import csv
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from msinet_tensorflow import PICTURES, STEP, official_shapes, pattern, ramp, weights
from torch import nn

from benchmarks.dry_run import frozen_graph
from lib import sources
from lib.data import checkpoints
from lib.models import msinet, saliency, tensorflow1, transalnet
from lib.records import Record

HERE = Path(__file__).parent
TENSORFLOW = np.load(HERE / "msinet.npz")  # `msinet_tensorflow.py` wrote it
# Of the authors' code (github.com/LJOVO/TranSalNet, a2aba83) with the arrays of `seeded` and the
# picture `pattern(333, 500)`, its channels read as R, G, B: the map at every 200th pixel.
GOLDEN = {
    "res": [0.514678, 0.517455, 0.453948, 0.519081, 0.672394, 0.657619],
    "dense": [0.508751, 0.566842, 0.564904, 0.515372, 0.572973, 0.556054],
}


def official(variant):
    """Names and shapes of TranSalNet's state dict."""
    with (HERE / "transalnet_keys.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if variant in row["variants"].split()]
    return {row["key"]: tuple(map(int, filter(None, row["shape"].split("x")))) for row in rows}


def seeded(shapes):
    """A state dict that depends on nothing but names and shapes."""
    state = {}
    for key, shape in shapes.items():
        rng, kind = np.random.default_rng(zlib.crc32(key.encode())), key.rpartition(".")[2]
        if len(shape) > 1:
            gain = np.sqrt(2 / math.prod(shape[1:]))
            array = np.resize(rng.normal(0, gain, 10_007), shape)  # a prime: no two filters alike
        elif kind in ("weight", "running_var"):
            array = rng.uniform(0.5, 1.5, shape)
        else:  # a bias, a mean; or a counter, which has no shape
            array = rng.normal(0, 0.1, shape) * len(shape)
        state[key] = torch.tensor(array).to(torch.float32 if shape else torch.int64)
    return state


@pytest.mark.parametrize("variant", ["res", "dense"])
def test_transalnet_is_the_authors_network(variant, checkpoint):
    torch.save(seeded(official(variant)), checkpoint(f"transalnet-{variant}.pth"))
    network = saliency.PUBLISHED[f"transalnet-{variant}"][1]()
    found = network.predict(pattern(333, 500))
    assert found.shape == (333, 500) and found.dtype == np.float32
    np.testing.assert_allclose(found[::200, ::200].ravel(), GOLDEN[variant], atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "entries", "parameters"), [("res", 473, 72_510_977), ("dense", 1115, 76_560_065)]
)
def test_transalnet_has_every_official_name_once(variant, entries, parameters):
    with torch.device("meta"):
        ours = transalnet.TranSalNet(variant)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == official(variant)
    counted = [s for k, s in official(variant).items() if not k.endswith(("mean", "var", "ked"))]
    assert len(official(variant)) == entries
    assert sum(p.numel() for p in ours.parameters()) == sum(map(math.prod, counted)) == parameters


def test_msinet_has_every_official_name_once(checkpoint):
    checkpoint("msi-net.pb").write_bytes(frozen_graph(weights(official_shapes())))
    network = saliency.PUBLISHED["msi-net"][1]()
    shapes = official_shapes().values()
    assert len(network.state_dict()) == len(shapes) == 46
    assert sum(p.numel() for p in network.parameters()) == sum(map(math.prod, shapes)) == 24_934_209
    x = torch.from_numpy(pattern(48, 64)).float() - torch.tensor(msinet.MEAN)
    with torch.no_grad():
        (found,) = network(x.permute(2, 0, 1)[None])
    np.testing.assert_allclose(found, TENSORFLOW["map"], atol=1e-5)
    found = network.predict(pattern(480, 640))
    assert found.shape == (480, 640) and found.dtype == np.float32 and np.isfinite(found).all()


@pytest.mark.parametrize("kind", ["graph", "saved_model"])
def test_constants_of_a_graph_that_tensorflow_froze(kind, tmp_path):
    (tmp_path / "small.pb").write_bytes(TENSORFLOW[kind].tobytes())
    found, wanted = tensorflow1.read_constants(tmp_path / "small.pb"), weights(official_shapes(64))
    assert found.keys() > wanted.keys()
    for key, array in wanted.items():
        np.testing.assert_array_equal(found[key], array)
    assert msinet.read_msinet(tmp_path / "small.pb").keys() == msinet.MSINet().state_dict().keys()


class Echo(msinet.MSINet):
    """Shows what the network gets, and gives what it is told, or else what it got."""

    told = None

    def forward(self, x):
        self.seen = x[0].permute(1, 2, 0).numpy() + np.float32(msinet.MEAN)
        gray = torch.from_numpy(self.seen).mean(dim=2)[None] / 255
        return gray if self.told is None else torch.from_numpy(self.told)[None]


class EchoTranSalNet(transalnet.TranSalNet):
    def __init__(self):
        nn.Module.__init__(self)
        self.anything = nn.Linear(1, 1)

    def forward(self, x):
        self.seen = 255 * x[0].permute(1, 2, 0).numpy()
        return x.mean(dim=1, keepdim=True)


@pytest.mark.parametrize("name", PICTURES)
def test_msinet_resizes_and_pads_and_crops_as_tensorflow_does(name):
    network, shape = Echo(), PICTURES[name]
    network.told = ramp()
    found = network.predict(pattern(*shape))
    assert found.shape == shape
    np.testing.assert_allclose(found[::STEP, ::STEP], TENSORFLOW[f"{name}_output"], atol=1e-5)
    # TensorFlow takes bicubic weights from a table of 1,024 steps: a hundredth of a gray level.
    np.testing.assert_allclose(network.seen[::STEP, ::STEP], TENSORFLOW[f"{name}_input"], atol=0.02)


@pytest.mark.parametrize(
    ("network", "shape", "rows", "columns", "fill"),
    [
        (EchoTranSalNet, (100, 400), slice(96, 192), slice(0, 384), 1),
        (EchoTranSalNet, (401, 100), slice(0, 288), slice(156, 227), 1),  # 71.8 is 71
        (Echo, (100, 400), slice(80, 160), slice(0, 320), 126),
        (Echo, (401, 100), slice(0, 240), slice(130, 190), 126),  # 59.9 is 60
    ],
)
def test_a_picture_lies_in_the_middle_of_its_frame(network, shape, rows, columns, fill):
    network = network()
    found = network.predict(np.full((*shape, 3), 200, np.uint8))
    np.testing.assert_allclose(network.seen[rows, columns], 200, atol=1e-4)
    outside = np.ones(network.seen.shape[:2], bool)
    outside[rows, columns] = False
    np.testing.assert_allclose(network.seen[outside], fill, atol=1e-4)
    assert found.shape == shape
    np.testing.assert_allclose(found[5:-5, 5:-5], 200 / 255, atol=1e-6)


@pytest.mark.parametrize("network", [Echo, EchoTranSalNet])
@pytest.mark.parametrize("shape", [(480, 640), (333, 121), (75, 101), (64, 300)])
def test_a_map_comes_back_to_where_the_picture_was(network, shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.rint(60 + 130 * x / shape[1] + 60 * y / shape[0]).astype(np.uint8)
    found = 255 * network().predict(np.repeat(image[..., None], 3, axis=2))
    assert found.shape == shape
    inner = slice(8, -8), slice(8, -8)
    assert np.abs(found - image)[inner].max() < 3  # gray levels; a pixel off the corner is 3


def test_blocks_are_torchs_transformer():
    ours = transalnet.Block(hidden=32, heads=4)
    peer = nn.TransformerEncoderLayer(
        32, 4, 128, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    with torch.no_grad():
        for p in ours.parameters():
            p.copy_(torch.randn_like(p) / 4)
    state, each = ours.state_dict(), ("query", "key", "value")
    names = {"attention_norm": "norm1", "ffn_norm": "norm2", "ffn.fc1": "linear1"}
    names |= {"ffn.fc2": "linear2", "attn.out": "self_attn.out_proj"}
    theirs = {f"{b}.{k}": state[f"{a}.{k}"] for a, b in names.items() for k in ("weight", "bias")}
    for kind in ("weight", "bias"):
        parts = [state[f"attn.{name}.{kind}"] for name in each]
        theirs[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
    peer.load_state_dict(theirs)
    tokens = torch.randn(2, 7, 32)
    torch.testing.assert_close(ours(tokens), peer(tokens), atol=1e-5, rtol=1e-4)


def test_upsampling_counts_from_the_corner():
    found = tensorflow1.upsample(torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]]))
    wanted = [[0, 2, 4, 4], [4, 6, 8, 8], [8, 10, 12, 12], [8, 10, 12, 12]]
    assert found[0, 0].tolist() == wanted


def test_pools_that_keep_the_size_see_nothing_below_and_to_the_right():
    found = tensorflow1.pool_in_place(torch.tensor([[[[-5.0, -2.0], [-3.0, -4.0]]]]))
    assert found[0, 0].tolist() == [[-2, -2], [-3, -4]]


def test_shrinking_takes_the_mean_and_the_last_pixel_goes_on():
    row = np.array([0, 2, 4, 6, 8], np.float32).reshape(1, 5, 1)  # pixels 0-2, 2-4, 4-6 to 3
    assert tensorflow1.resize_corners(row, (1, 3)).ravel().tolist() == [1, 5, 8]


@pytest.mark.parametrize("name", saliency.PUBLISHED)
def test_missing_and_foreign_files_are_one_sentence(name, checkpoint, tmp_path):
    file = checkpoints.SOURCE[name].files[""]
    with pytest.raises(FileNotFoundError, match=f"{file} is not there; run `make data PROFILE"):
        sources.published_source(name)
    torch.save({"encoder.weight": torch.zeros(1)}, tmp_path / "other.pth")
    graph = TENSORFLOW["graph"].tobytes()
    foreign = [b"<html>quota exceeded</html>", b"", (tmp_path / "other.pth").read_bytes()]
    for content in [*foreign, graph, graph[:-1000]]:
        checkpoint(file).write_bytes(content)
        with pytest.raises(OSError, match=f"{file} is not {name}; download it again") as wrong:
            sources.published_source(name)
        assert "\n" not in str(wrong.value) and len(str(wrong.value)) < 500


def test_a_published_network_is_a_source_of_maps(monkeypatch):
    monkeypatch.setattr(sources, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setitem(saliency.PUBLISHED, "echo", ("Echo", EchoTranSalNet))
    source = sources.published_source("echo")
    maps = source.compute([Record(str(i), pattern(90, 120)) for i in range(2)])
    assert maps.shape == (2, 90, 120) and source.method == "Echo"
    assert source.key != sources.published_source("echo").key, "other weights, other maps"
    with pytest.raises(ValueError, match="no published network 'sam'; choose one of msi-net"):
        sources.published_source("sam")
