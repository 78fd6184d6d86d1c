"""Section III-D, the mathematics of [49]: bits go where people look, and the total stays."""

import numpy as np
import pytest
from skimage.data import astronaut, coffee

from lib import codec, x264
from lib.codec import PRESETS, Preset, macroblock_map, share, solve_offsets

RNG = np.random.default_rng(0)
AWARE = [name for name, preset in PRESETS.items() if preset]


def blob(shape, y, x, width):
    """A smooth map with its peak at (y, x), shares of the frame."""
    rows, columns = (np.linspace(0, 1, side) for side in shape)
    away = (rows[:, None] - y) ** 2 + (columns[None, :] - x) ** 2
    return np.exp(-away / (2 * width**2)).astype(np.float32)


PICTURES = {
    "coffee": (coffee(), blob((400, 600), 0.45, 0.55, 0.2)),
    "astronaut": (astronaut(), blob((512, 512), 0.2, 0.45, 0.15)),
}


def aq_of(image):
    return codec.aq_offsets(x264.planes(x264.to_frame(image)))


def means(saliency):
    return codec.blocks(saliency).mean(axis=(2, 3))


@pytest.mark.parametrize("preset", AWARE)
@pytest.mark.parametrize("pooled", [macroblock_map, means])
@pytest.mark.parametrize("name", PICTURES)
def test_the_share_of_bits_is_the_presets_and_the_total_stays(name, pooled, preset):
    image, saliency = PICTURES[name]
    aq, wanted = aq_of(image), PRESETS[preset]
    found = solve_offsets(pooled(saliency), aq, wanted)
    after = aq + found.grid
    assert share(after, found.salient) == pytest.approx(wanted.bitrate / 100, abs=0.01)
    assert (codec.BASE**-after).sum() / (codec.BASE**-aq).sum() == pytest.approx(1, abs=0.015)
    assert found.salient.mean() == pytest.approx(1 - wanted.s0 / 100, abs=0.01)


def test_two_levels_of_saliency_have_the_closed_form():
    # 40 of 100 macroblocks get 80 % of the bits: twice their share, the others a third of theirs.
    saliency = np.repeat([0.0, 1.0], [60, 40]).reshape(10, 10)
    found = solve_offsets(saliency, np.zeros((10, 10)), Preset(60, 80))
    up, down = -np.log(2) / np.log(codec.BASE), np.log(3) / np.log(codec.BASE)
    exact = np.where(found.salient, up, down)
    assert np.abs(found.grid - exact).max() <= codec.STEP / 2
    assert share(np.zeros((10, 10)), found.salient) == pytest.approx(0.4)
    assert share(exact, found.salient) == pytest.approx(0.8)
    assert pytest.approx(2.24) == codec.BASE**6


def test_adaptive_quantisation_counts_so_p132_is_not_none():
    # Where salient macroblocks are busy, AQ has already made them cheap.
    saliency = RNG.random((20, 20))
    level = solve_offsets(saliency, np.zeros((20, 20)), PRESETS["p132"])
    assert np.abs(level.grid).max() <= codec.STEP
    busy = np.where(saliency > 0.6, 3.0, -1.0)
    assert solve_offsets(saliency, busy, PRESETS["p132"]).grid.min() < -2


@pytest.mark.parametrize("level", [0, 1e-7, 12345.678])
def test_a_constant_map_and_no_preset_change_nothing(level):
    constant = macroblock_map(np.full((64, 48), level))
    for preset in PRESETS.values():
        found = solve_offsets(constant, np.zeros((4, 3)), preset)
        assert not found.grid.any() and np.isnan(share(found.grid, found.salient))
    assert not solve_offsets(RNG.random((4, 3)), np.zeros((4, 3)), None).grid.any()


@pytest.mark.parametrize("share_of_ones", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("preset", AWARE)
def test_a_map_of_two_values_is_split_between_them_wherever_s0_falls(share_of_ones, preset):
    saliency = (np.arange(900) < share_of_ones * 900).astype(float).reshape(30, 30)
    found = solve_offsets(saliency, np.zeros((30, 30)), PRESETS[preset])
    assert np.array_equal(found.salient, saliency == 1)
    wanted = PRESETS[preset].bitrate / 100
    assert share(found.grid, found.salient) == pytest.approx(wanted, abs=0.015)


def test_macroblock_map_averages_and_repeats_the_edge():
    ramp = np.tile(np.arange(1.0, 34.0), (20, 1))  # 20x33: 2x3 macroblocks
    assert means(ramp) == pytest.approx(np.tile([8.5, 24.5, 33], (2, 1)))
    assert macroblock_map(ramp) == pytest.approx(np.tile(np.array([1.5, 3.5, 5.5]) / 6, (2, 1)))


def test_qps_are_rounded_and_clipped_to_what_h264_has():
    asked = codec.qp_map(40.5, np.array([-41.0, 0, 3.5, 20]), np.zeros(4))
    assert asked.tolist() == [0, 41, 44, 51]


def test_a_bad_map_or_preset_is_refused():
    with pytest.raises(ValueError, match="saliency_map"):
        macroblock_map(np.full((32, 32), np.nan))
    with pytest.raises(ValueError, match="between 0 and 100"):
        solve_offsets(RNG.random((4, 4)), np.zeros((4, 4)), Preset(60, 100))
