"""Section III-D: the bits go where people look, and there are as many of them as asked for."""

import re

import numpy as np
import pytest
from skimage.data import astronaut, coffee

from lib import codec
from lib.codec import (
    BASE,
    PRESETS,
    Codec,
    Preset,
    coded_qp,
    decode,
    macroblock_map,
    modelled_share,
    most_salient,
    psnr,
    regions,
    solve_offsets,
)

RNG = np.random.default_rng(0)


def blob(shape, y, x, width):
    """A smooth map with its peak at (y, x), shares of the frame."""
    rows, columns = (np.linspace(0, 1, side) for side in shape)
    away = (rows[:, None] - y) ** 2 + (columns[None, :] - x) ** 2
    return np.exp(-away / (2 * width**2)).astype(np.float32)


PICTURES = {
    "coffee": (coffee(), blob((400, 600), 0.45, 0.55, 0.2)),
    "astronaut": (astronaut(), blob((512, 512), 0.2, 0.45, 0.15)),
}
CODECS = {name: Codec(*pair) for name, pair in PICTURES.items()}
AWARE = [name for name, preset in PRESETS.items() if preset]


# --- offsets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", AWARE)
@pytest.mark.parametrize("equalize", [True, False])
@pytest.mark.parametrize("name", PICTURES)
def test_the_share_of_bits_is_the_presets_and_the_total_stays(name, equalize, preset):
    found = Codec(*PICTURES[name], equalize=equalize).offsets(preset)
    wanted = PRESETS[preset]
    assert found.share == pytest.approx(wanted.bitrate / 100, abs=0.01)
    assert found.total == pytest.approx(1, abs=0.015)
    assert found.salient.mean() == pytest.approx(1 - wanted.s0 / 100, abs=0.01)


def test_two_levels_of_saliency_have_the_closed_form():
    # 40 of 100 macroblocks get 80 % of the bits: twice their share, the others a third of theirs.
    saliency = np.repeat([0.0, 1.0], [60, 40]).reshape(10, 10)
    found = solve_offsets(saliency, np.zeros((10, 10)), Preset(60, 80))
    up, down = -np.log(2) / np.log(BASE), np.log(3) / np.log(BASE)
    exact = np.where(found.salient, up, down)
    assert found.share_before == pytest.approx(0.4)
    assert np.abs(found.grid - exact).max() <= codec.STEP / 2
    assert modelled_share(exact, found.salient) == pytest.approx(0.8)
    assert pytest.approx(2.24) == BASE**6


def test_offsets_are_linear_in_saliency_with_one_slope_on_each_side_of_s0():
    saliency = RNG.random((30, 40))
    found = solve_offsets(saliency, np.zeros(saliency.shape), Preset(75, 80))
    distance = saliency - np.quantile(saliency, 0.75)
    assert np.array_equal(found.salient, distance >= 0)
    exact = -np.where(found.salient, found.k_up, found.k_down) * distance
    assert np.abs(found.grid - exact).max() <= codec.STEP / 2
    assert found.k_up > 0 and found.k_down > 0


def test_adaptive_quantisation_counts_so_p132_is_not_none():
    # Where salient macroblocks are busy, AQ has already made them cheap.
    aq = np.zeros((20, 20))
    saliency = RNG.random((20, 20))
    assert np.abs(solve_offsets(saliency, aq, PRESETS["p132"]).grid).max() <= codec.STEP
    busy = np.where(saliency > 0.6, 3.0, -1.0)
    assert solve_offsets(saliency, busy, PRESETS["p132"]).grid.min() < -2


@pytest.mark.parametrize("level", [0, 1e-7, 0.3, 12345.678])
def test_a_constant_map_changes_nothing(level):
    image, _ = PICTURES["coffee"]
    constant = Codec(image, np.full(image.shape[:2], level, np.float32))
    for preset in AWARE:
        assert not constant.offsets(preset).grid.any()
        assert np.isnan(constant.offsets(preset).share)
    plain = CODECS["coffee"].encode_at("none", 40)
    assert constant.encode_at("p310", 40).data == plain.data


@pytest.mark.parametrize("share_of_ones", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("preset", AWARE)
def test_a_map_of_two_values_is_split_between_them_wherever_s0_falls(share_of_ones, preset):
    saliency = (np.arange(900) < share_of_ones * 900).astype(float).reshape(30, 30)
    found = solve_offsets(saliency, np.zeros((30, 30)), PRESETS[preset])
    assert np.array_equal(found.salient, saliency == 1)
    assert found.share == pytest.approx(PRESETS[preset].bitrate / 100, abs=0.015)


def test_equal_ranks_whatever_the_scale_of_the_map():
    image, saliency = PICTURES["coffee"]
    for other in (1e-8 * saliency, 1e8 * saliency, saliency**1.5):
        same = Codec(image, other).offsets("p220").grid
        assert np.abs(same - CODECS["coffee"].offsets("p220").grid).mean() < 0.2


def test_macroblock_map_averages_and_repeats_the_edge():
    ramp = np.tile(np.arange(1.0, 34.0), (20, 1))  # 20x33: 2x3 macroblocks
    expected = np.array([8.5, 24.5, 33]) / 33
    assert macroblock_map(ramp, equalize=False) == pytest.approx(np.tile(expected, (2, 1)))
    assert macroblock_map(ramp) == pytest.approx(np.tile(np.array([1.5, 3.5, 5.5]) / 6, (2, 1)))


# --- what reaches the stream ------------------------------------------------------------------


def after_merging(qp_map):
    """x264 gives a macroblock its predecessor's QP where they are one apart."""
    merged, last = [], None
    for qp in qp_map.ravel():
        last = last if last is not None and abs(qp - last) == 1 else qp
        merged.append(last)
    return np.reshape(merged, qp_map.shape)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", PICTURES)
def test_the_coded_qps_are_the_formulas(name, preset):
    found = CODECS[name].encode_at(preset, 8)
    same = coded_qp(found.data) == after_merging(found.qp_map)
    # Black macroblocks have nothing to code, and so write no QP.
    assert same[CODECS[name].aq > -4].mean() > 0.98
    assert np.array_equal(found.offsets.grid, CODECS[name].offsets(preset).grid)


@pytest.mark.parametrize("offset", [-6, 6])
def test_six_steps_move_quality_and_bits_inside_the_region_alone(offset):
    plain = Codec(coffee())
    grid = np.zeros(plain.aq.shape)
    grid[5:20, 10:25] = offset
    inside = np.kron(grid != 0, np.ones((16, 16), bool))[:400, :600]
    marked = codec._run_x264(codec._with_regions(plain.frame, grid), 32)
    before, after = plain.encode_at("none", 32), decode(marked, (400, 600))
    gain = psnr(coffee(), after, inside) - psnr(coffee(), before.image, inside)
    assert -np.sign(offset) * gain > 2
    assert psnr(coffee(), after, ~inside) == pytest.approx(
        psnr(coffee(), before.image, ~inside), abs=0.15
    )
    assert -np.sign(offset) * (len(marked) / len(before.data) - 1) > 0.08


@pytest.mark.parametrize("bpp", [0.12, 0.16])
@pytest.mark.parametrize("preset", ["p220", "p310"])
@pytest.mark.parametrize("name", PICTURES)
def test_the_salient_quarter_gains_and_the_rest_pays_at_equal_rate(name, preset, bpp):
    image, saliency = PICTURES[name]
    quarter = most_salient(saliency)
    plain, aware = (CODECS[name].encode(p, bpp) for p in ("none", preset))
    assert psnr(image, aware.image, quarter) > psnr(image, plain.image, quarter) + 0.5
    assert psnr(image, aware.image, ~quarter) < psnr(image, plain.image, ~quarter) - 0.5
    assert abs(aware.bpp / plain.bpp - 1) < 0.04
    assert aware.share > modelled_share(plain.qp_map, aware.offsets.salient) + 0.1


def test_regions_cover_the_grid_once():
    for grid in (RNG.integers(-2, 3, (17, 23)) / 2, np.full((4, 5), 1.5), np.zeros((3, 3))):
        painted, times = np.zeros(grid.shape), np.zeros(grid.shape, int)
        for x, y, width, height, offset in regions(grid):
            painted[y : y + height, x : x + width] += offset
            times[y : y + height, x : x + width] += 1
        assert np.array_equal(painted, grid) and np.array_equal(times, grid != 0)
    assert regions(np.full((4, 5), 1.5)) == [(0, 0, 5, 4, 1.5)]


# --- rate -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coded():
    return {
        (name, preset, bpp): one.encode(preset, bpp)
        for name, one in CODECS.items()
        for preset in PRESETS
        for bpp in (0.08, 0.12, 0.16)
    }


def test_every_target_is_met_within_two_percent_in_few_encodes(coded):
    for (_, _, bpp), found in coded.items():
        assert found.reachable and found.reason == "" and found.target == bpp
        assert found.bpp == pytest.approx(bpp, rel=0.02)
    assert np.mean([found.encodes for found in coded.values()]) <= 3


def test_bpp_counts_parameter_sets_and_slice_and_nothing_else(coded):
    for found in coded.values():
        pixels = found.image.shape[0] * found.image.shape[1]
        assert found.bpp == 8 * len(found.data) / pixels
        kinds = [found.data[m.end()] & 31 for m in re.finditer(b"\0\0\1", found.data)]
        assert kinds == [7, 8, 5]  # sequence and picture parameter sets, one IDR slice
        assert np.array_equal(decode(found.data, found.image.shape[:2]), found.image)


def test_the_same_picture_gives_the_same_bytes(coded):
    again = Codec(*PICTURES["coffee"])
    for preset in ("p220", "none"):  # in another order, and from a fresh start
        assert again.encode(preset, 0.08).data == coded["coffee", preset, 0.08].data


@pytest.mark.parametrize(
    ("image", "bpp", "reason"),
    [
        (np.full((160, 160, 3), 90, np.uint8), 0.16, "too little even at QP 1: 0.0"),
        (RNG.integers(0, 256, (96, 96, 3), dtype=np.uint8), 0.05, "every macroblock at QP 51: 0.1"),
        (coffee()[:8, :8], 0.16, "too much even with every macroblock at QP 51"),
    ],
)
@pytest.mark.parametrize("preset", ["none", "p220"])
def test_what_cannot_be_reached_is_said_so_with_the_reason(image, bpp, reason, preset):
    found = Codec(image, blob(image.shape[:2], 0.4, 0.4, 0.2)).encode(preset, bpp)
    assert not found.reachable and reason in found.reason
    assert found.encodes <= 4 and found.image.shape == image.shape


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
    seen = []

    def code(qp):
        seen.append(float(bpp_of(qp)))
        return b"", seen[-1]

    _, qp, encodes, reason = codec._search(code, lambda qp: -qp / 6, 0.1, 60.0, 0.02)
    assert encodes == len(seen) <= codec.MOST_ENCODES and 1 <= qp <= 60
    errors = np.abs(np.log(np.array(seen) / 0.1))
    assert abs(np.log(bpp_of(qp) / 0.1)) == errors.min()
    assert bool(reason) == (abs(bpp_of(qp) / 0.1 - 1) > 0.02)


# --- pictures of any kind ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (2, 50), (17, 33), (301, 201), (97, 333)])
def test_any_size_comes_back_as_it_went_in(shape):
    image = coffee()[: shape[0], 50 : 50 + shape[1]]
    for preset in ("none", "p310"):
        found = Codec(image, blob(shape, 0.3, 0.6, 0.2)).encode_at(preset, 20)
        assert found.image.shape == image.shape and found.image.dtype == np.uint8
        assert found.qp_map.shape == (-(-shape[0] // 16), -(-shape[1] // 16))
        assert coded_qp(found.data).shape == found.qp_map.shape
        assert psnr(image, found.image) > 25


def test_a_4k_picture_with_thousands_of_regions():
    image = np.tile(coffee(), (6, 7, 1))[:2160, :3840]
    coder = Codec(image, RNG.random((135, 240)).repeat(16, 0).repeat(16, 1))
    assert len(regions(coder.offsets("p220").grid)) > 10_000
    found = coder.encode_at("p220", 40)
    assert found.image.shape == (2160, 3840, 3) and 0.05 < found.bpp < 1


def test_colors_come_back_without_a_shift():
    levels = np.linspace(10, 245, 64, dtype=np.uint8)
    gray = np.repeat(np.repeat(np.tile(levels, (64, 1))[..., None], 3, axis=2), 2, axis=1)
    back = Codec(gray).encode_at("none", 1).image
    assert np.abs(back.astype(int) - gray).max() <= 3
    assert np.ptp(back.astype(int), axis=2).max() <= 3, "gray stays gray"
    color = Codec(coffee()).encode_at("none", 1).image
    assert np.abs((color.astype(float) - coffee()).mean(axis=(0, 1))).max() < 0.3
    assert psnr(coffee(), color) > 39


def test_a_read_only_or_strided_picture_is_as_good():
    view = coffee()[::2, ::2]
    view.flags.writeable = False
    same = Codec(np.ascontiguousarray(view)).encode_at("none", 30)
    assert Codec(view).encode_at("none", 30).data == same.data


# --- faults -----------------------------------------------------------------------------------


def with_one(value):
    saliency = np.ones((32, 32))
    saliency[3, 5] = value
    return saliency


@pytest.mark.parametrize(
    ("saliency", "message"),
    [
        (with_one(np.nan), "saliency_map holds NaN or infinite"),
        (with_one(np.inf), "saliency_map holds NaN or infinite"),
        (with_one(-1), "saliency_map holds negative"),
        (np.ones((32, 31)), "resize it first"),
        (np.ones((2, 32, 32)), "resize it first"),
        (np.ones((0, 32)), "with pixels in it"),
    ],
)
def test_a_bad_map_is_refused(saliency, message):
    with pytest.raises(ValueError, match=message):
        Codec(np.zeros((32, 32, 3), np.uint8), saliency)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 3)),
        np.zeros((0, 32, 3), np.uint8),
    ],
)
def test_a_picture_that_is_not_rgb_is_refused(image):
    with pytest.raises(ValueError, match="image must be HxWx3 uint8"):
        Codec(image)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.encode("p999", 0.1), "preset must be one of none, p132"),
        (lambda c: c.encode("p220", 0.1), "needs a saliency_map"),
        (lambda c: c.encode("none", 0), "must be positive"),
        (lambda c: c.encode("none", float("nan")), "must be positive"),
        (lambda c: c.encode_at("none", 0), "qp must be 1 or more"),
        (lambda c: c.encode_at("none", float("nan")), "qp must be 1 or more"),
        (lambda _: Preset(60, 100), "between 0 and 100"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(Codec(coffee()[:32, :32]))


@pytest.mark.parametrize("keep", [0, 30, 0.5])
def test_a_cut_stream_is_refused(keep):
    data = CODECS["coffee"].encode_at("none", 40).data
    cut = data[: int(keep * len(data)) if isinstance(keep, float) else keep]
    with pytest.raises(ValueError, match="not a coded picture"):
        decode(cut, (400, 600))
    with pytest.raises(ValueError, match="is 600x400, not"):
        decode(data, (300, 600))


def test_psnr_is_the_definition():
    image = coffee()
    worse = image.copy()
    worse[:100] ^= 1
    mask = np.zeros(image.shape[:2], bool)
    mask[:100] = True
    assert psnr(image, worse, mask) == pytest.approx(20 * np.log10(255))
    assert psnr(image, worse) == pytest.approx(20 * np.log10(255 * 2))  # a quarter of the pixels
    assert psnr(image, worse, ~mask) == psnr(image, image) == float("inf")
    with pytest.raises(ValueError, match="mask is empty"):
        psnr(image, worse, np.zeros_like(mask))
    with pytest.raises(ValueError, match="of one size"):
        psnr(image, worse[:-1])
