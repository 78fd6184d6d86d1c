"""What libx264 makes of it: the offsets reach the stream, and the stream has the size asked for."""

import re

import av
import numpy as np
import pytest
from skimage.data import coffee
from skimage.metrics import peak_signal_noise_ratio

from lib.codec import BITRATES, PRESETS, macroblock_map, qp_map, share, solve_offsets
from lib.x264 import MOST_ENCODES, _search, code, decode, encode, to_frame
from tests.test_codec import PICTURES, aq_of, blob
from tests.test_notebooks import functions

RNG = np.random.default_rng(0)
coded_qp = functions("04", "").coded_qp
PLACES = [(name, preset) for name in PICTURES for preset in PRESETS]


def psnr(reference, image, mask=...):
    return peak_signal_noise_ratio(reference[mask], image[mask], data_range=255)


@pytest.fixture(scope="module")
def offsets():
    """The offsets of every picture and preset."""
    aq = {name: aq_of(image) for name, (image, _) in PICTURES.items()}
    maps = {name: macroblock_map(saliency) for name, (_, saliency) in PICTURES.items()}
    return {(n, p): solve_offsets(maps[n], aq[n], PRESETS[p]) for n, p in PLACES}


@pytest.fixture(scope="module")
def coded(offsets):
    """Every picture at every preset and bitrate."""
    cases = [(*place, bpp) for place in PLACES for bpp in BITRATES]
    return {(n, p, bpp): encode(PICTURES[n][0], bpp, offsets[n, p].grid) for n, p, bpp in cases}


@pytest.mark.parametrize(("name", "preset"), PLACES)
def test_the_coded_qps_are_the_formulas(name, preset, offsets):
    image, aq, grid = PICTURES[name][0], aq_of(PICTURES[name][0]), offsets[name, preset].grid
    asked, last = qp_map(8, aq, grid), None
    for block, qp in np.ndenumerate(asked):  # x264 repeats the QP before where they are one apart
        last = asked[block] = last if last is not None and abs(qp - last) == 1 else qp
    same = coded_qp(code(to_frame(image), 8, grid)) == asked
    assert same[aq > -4].mean() > 0.98  # black macroblocks have nothing to code, so write no QP


@pytest.mark.parametrize("offset", [-6, 6])
def test_six_steps_move_quality_and_bits_inside_the_region_alone(offset):
    grid = np.zeros((25, 38))
    grid[5:20, 10:25] = offset
    inside = np.kron(grid != 0, np.ones((16, 16), bool))[:400, :600]
    data = [code(to_frame(coffee()), 32, g) for g in (np.zeros_like(grid), grid)]
    before, after = (decode(d, (400, 600)) for d in data)
    gain, rest = (psnr(coffee(), after, m) - psnr(coffee(), before, m) for m in (inside, ~inside))
    assert -np.sign(offset) * gain > 2 and abs(rest) < 0.15
    assert -np.sign(offset) * (len(data[1]) / len(data[0]) - 1) > 0.08


@pytest.mark.parametrize("preset", ["p220", "p310"])
@pytest.mark.parametrize("name", PICTURES)
def test_the_salient_quarter_gains_and_the_rest_pays_at_equal_rate(name, preset, coded, offsets):
    image, saliency = PICTURES[name]
    quarter = saliency >= np.quantile(saliency, 0.75)
    plain, aware = (coded[name, p, 0.12] for p in ("none", preset))
    assert psnr(image, aware.image, quarter) > psnr(image, plain.image, quarter) + 0.5
    assert psnr(image, aware.image, ~quarter) < psnr(image, plain.image, ~quarter) - 0.5
    salient = offsets[name, preset].salient
    assert share(aware.qp_map, salient) > share(plain.qp_map, salient) + 0.1


def test_targets_are_met_within_two_percent_in_few_encodes_and_bpp_counts_the_slice(coded):
    assert np.mean([found.encodes for found in coded.values()]) <= 4
    for (_, _, bpp), found in coded.items():
        assert found.reason == "" and found.bpp == pytest.approx(bpp, rel=0.02)
        assert found.bpp == pytest.approx(8 * len(found.data) / found.image[..., 0].size)
        kinds = [found.data[m.end()] & 31 for m in re.finditer(b"\0\0\1", found.data)]
        assert kinds == [7, 8, 5]  # sequence and picture parameter sets, one IDR slice
        assert np.array_equal(decode(found.data, found.image.shape[:2]), found.image)


def test_the_same_picture_gives_the_same_bytes(coded, offsets):
    again = encode(coffee(), 0.08, offsets["coffee", "p220"].grid)
    assert again.data == coded["coffee", "p220", 0.08].data
    assert encode(coffee() / 255, 0.08).data == coded["coffee", "none", 0.08].data


@pytest.mark.parametrize(
    ("image", "bpp", "reason"),
    [
        (np.full((160, 160, 3), 90, np.uint8), 0.16, "too little even at QP 1: 0.0"),
        (RNG.integers(0, 256, (96, 96, 3), dtype=np.uint8), 0.05, "every macroblock at QP 51: 0.1"),
        (coffee()[:8, :8], 0.16, "too much even with every macroblock at QP 51"),
    ],
)
@pytest.mark.parametrize("offset", [0, 4])
def test_what_cannot_be_reached_is_said_so_with_the_reason(image, bpp, reason, offset):
    grid = np.zeros(aq_of(image).shape)
    grid[::2] = -offset
    found = encode(image, bpp, grid)
    assert reason in found.reason and found.encodes <= 6 and found.image.shape == image.shape


def test_offsets_beyond_the_range_of_qp_are_as_good_as_its_ends():
    grid, frame = np.zeros((25, 38)), to_frame(coffee())
    grid[:10] = 70
    assert code(frame, 55, grid) == code(frame, 55, np.minimum(grid, 51))


@pytest.mark.parametrize(
    "bpp_of",
    [
        lambda qp: 2.0 ** (-qp / 4) * 100,
        lambda qp: 0.2 if qp < 40.3 else 0.05,  # nothing in between
        lambda qp: 0.1 * (1.5 + np.sin(3 * qp)) * 2 ** ((38 - qp) / 6),  # not monotone
        lambda qp: 0.3,
        lambda qp: 0.001,
    ],
)
def test_the_search_ends_on_any_curve_and_returns_its_nearest(bpp_of):
    seen = {}

    def error(qp):
        assert 1 <= qp <= 60 and qp not in seen
        seen[qp] = float(np.log(bpp_of(qp) / 0.1))
        return seen[qp]

    qp, reason = _search(error, 60.0)
    assert len(seen) <= MOST_ENCODES
    assert abs(seen[qp]) == min(abs(e) for e in seen.values())
    assert bool(reason) == (abs(np.expm1(seen[qp])) > 0.02)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (2, 50), (17, 33), (301, 201), (97, 333)])
def test_any_size_comes_back_as_it_went_in(shape):
    image = coffee()[: shape[0], 50 : 50 + shape[1]]
    grid = RNG.integers(-4, 5, [-(-side // 16) for side in shape]) / 2
    for offset in (0.0, grid):
        data = code(to_frame(image), 20, offset)
        found = decode(data, shape)
        assert found.shape == image.shape and found.dtype == np.uint8
        assert coded_qp(data).shape == grid.shape and psnr(image, found) > 25


def test_a_4k_picture_with_thousands_of_regions():
    image = np.tile(coffee(), (6, 7, 1))[:2160, :3840]
    grid = np.rint(40 * blob((135, 240), 0.4, 0.6, 0.2)) / 2 - 10
    assert np.count_nonzero(np.diff(grid)) > 4000
    assert decode(code(to_frame(image), 40, grid), (2160, 3840)).shape == image.shape


def test_colors_come_back_without_a_shift():
    levels = np.linspace(10, 245, 64, dtype=np.uint8).repeat(2)
    gray = np.tile(levels[:, None], (64, 1, 3))
    back = decode(code(to_frame(gray), 1), (64, 128)).astype(int)
    assert np.abs(back - gray).max() <= 3
    assert np.ptp(back, axis=2).max() <= 3, "gray stays gray"
    color = decode(code(to_frame(coffee()), 1), (400, 600))
    assert np.abs((color.astype(float) - coffee()).mean(axis=(0, 1))).max() < 0.3
    assert psnr(coffee(), color) > 39


@pytest.mark.parametrize("keep", [0, 30, 2000])
def test_a_cut_stream_is_refused(keep):
    data = code(to_frame(coffee()), 40)
    assert len(data) > 2000
    with pytest.raises((ValueError, av.FFmpegError)):
        decode(data[:keep], (400, 600))


@pytest.mark.parametrize("shape", [(16385, 4), (4, 16385), (16384, 16384)])
def test_a_picture_too_large_for_x264_is_refused_in_words(shape):
    with pytest.raises(ValueError, match="16384 pixels a side and 268 megapixels, not"):
        to_frame(np.broadcast_to(np.uint8(0), (*shape, 3)))
    assert decode(code(to_frame(np.zeros((2, 16384, 3), np.uint8)), 40), (2, 16384)).max() < 3
