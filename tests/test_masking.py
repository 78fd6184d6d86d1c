"""Section III-B: the asked share is masked, to the pixel, and the curves say what it costs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lib import iqa, masking
from lib.masking import FILLS, STRATEGIES, fill, mask, masked_scores, relevance_ranks
from lib.records import Dataset, Record
from lib.sources import Source
from tests.test_notebooks import functions

RNG = np.random.default_rng(0)
MAPS = {
    "random": RNG.random((37, 53)),
    "constant": np.full((37, 53), 0.3),
    "zero": np.zeros((37, 53)),
    "tied": np.repeat(np.arange(4), 37 * 53 // 4 + 1)[: 37 * 53].reshape(37, 53),
    "one spike": np.eye(1, 37 * 53, 900).reshape(37, 53),
    "one pixel": np.ones((1, 1)),
    "huge": RNG.random((37, 53)) * 1e30,
    "negative": RNG.normal(size=(37, 53)),
}
RANKS = np.arange(4).reshape(2, 2)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("blur", [0, masking.MAP_BLUR])
def test_exactly_the_asked_share_is_masked_and_the_two_strategies_are_complements(name, blur):
    ranks = relevance_ranks(MAPS[name], blur)
    assert sorted(ranks.ravel()) == list(range(ranks.size))
    for share in [*np.linspace(0, 1, 13), *RNG.random(50), 0.5, 1 / 3, 0.1, 0.9]:
        for strategy in STRATEGIES:
            masked = mask(ranks, share, strategy)
            assert abs(masked.sum() - share * ranks.size) <= 0.5 + 1e-6
            assert mask(ranks, (1 + share) / 2, strategy)[masked].all(), "masks grow"
        assert np.array_equal(mask(ranks, share, "MoRF"), ~mask(ranks, 1 - share, "LeRF"))


def test_where_a_map_is_black_the_far_corners_are_the_least_relevant():
    spot = np.zeros((60, 80))
    spot[10:14, 10:14] = 1
    least = mask(relevance_ranks(spot), 0.1, "LeRF")
    assert least[-1, -1] and not least[:, :40].any()


def test_a_constant_map_is_masked_everywhere_alike_and_always_the_same():
    for level in (0.3, 1e-7, 12345.678):
        ranks = relevance_ranks(np.full((64, 64), level, np.float32))
        assert np.array_equal(ranks, relevance_ranks(np.zeros((64, 64))))
    quarters = mask(ranks, 0.5, "MoRF").reshape(4, 16, 4, 16).mean(axis=(1, 3))
    assert abs(quarters - 0.5).max() < 0.15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relevance_ranks(np.zeros((2, 3, 4))), "must be HxW and finite"),
        (lambda: relevance_ranks(np.full((4, 4), np.nan)), "must be HxW and finite"),
        (lambda: mask(RANKS, 1.1, "MoRF"), "share must be from 0 to 1"),
        (lambda: mask(RANKS, float("nan"), "MoRF"), "share must be from 0 to 1"),
        (lambda: mask(RANKS, 0.5, "best"), "strategy must be one of"),
        (lambda: fill(np.zeros((2, 2, 3), np.uint8), RANKS > 0, "white"), "fill must be one of"),
    ],
)
def test_a_bad_map_share_strategy_or_fill_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kind", FILLS)
def test_only_masked_pixels_change(kind):
    image = RNG.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    hole = mask(relevance_ranks(RNG.random((50, 70))), 0.4, "MoRF")
    filled = fill(image, hole, kind)
    assert filled.dtype == np.uint8 and filled.shape == image.shape
    assert np.array_equal(filled[~hole], image[~hole])
    assert (filled[hole] != image[hole]).any(axis=1).mean() > 0.95
    everything = fill(image, np.ones_like(hole), kind)
    if kind == "blur":
        assert everything.std() < 0.2 * image.std(), "the blur leaves next to nothing"
    else:
        assert (everything == (masking.IMAGENET_MEAN if kind == "mean" else 0)).all()


def test_patches_are_twelve_of_equal_size_and_square_at_4_to_3(notebook):
    numbers = notebook.patch_numbers((300, 400))
    assert np.array_equal(np.bincount(numbers.ravel()), np.full(12, 10_000))
    assert (numbers[:100, :100] == 0).all() and (numbers[200:, 300:] == 11).all()
    assert np.array_equal(notebook.patch_numbers((400, 300))[:100, 100:200], np.ones((100, 100)))


class Pictures(Dataset):
    """A gray picture each, with a bright square that is all its quality."""

    name, kind, fingerprint = "pictures", "test", "f"

    def __init__(self, count):
        self.names = [f"p{i}" for i in range(count)]
        self.read = 0

    def __getitem__(self, index):
        self.read += 1
        image = np.full((64, 64, 3), 100, np.uint8)
        image[10:26, 10:26] = 140 + 5 * index
        return Record(self.names[index], image, mos=float(index))


def bright(records):
    return np.stack([r.image[..., 0].astype(float) for r in records])


CALLS = []


def mean_of_bright_square(images, *_):
    CALLS.append(len(images))
    return torch.from_numpy(np.maximum(images[..., 0].astype(float) - 130, 0).mean(axis=(1, 2)))


SCORER = iqa.Metric("test", None, name="square", score=mean_of_bright_square, sign=1, key="k")
SALIENCY = Source("Saliency", "saliency", bright, "s")


@pytest.fixture
def scored(empty_cache, notebook):
    pictures = Pictures(12)
    patches, _, chance = notebook.sources_for(SCORER, SALIENCY, None)[-3:]
    sources = [SALIENCY, chance, patches]
    shares = [0, 0.25, 0.5, 0.75, 1]
    return masked_scores(SCORER, pictures, sources, ["black", "mean"], shares, 64)


def test_every_cell_is_scored_once_and_the_ends_are_shared(scored):
    assert len(scored) == 3 * 2 * 2 * 5 * 12 and scored.score.notna().all()
    assert (scored[scored.share == 0].groupby("image").score.agg(np.ptp) == 0).all()
    assert (scored.score[(scored.share == 1) & (scored.fill == "black")] == 0).all()


@pytest.fixture(scope="module")
def notebook():
    """What notebook 02 imports, and the functions that it defines."""
    return functions("02", "RESAMPLES = 200; LONG_SIDE = 64")


def test_masking_what_matters_first_destroys_the_correlation_first(scored, notebook):
    table, mos = notebook.as_table(scored), pd.Series({f"p{i}": i for i in range(12)})
    cells, samples = table.index.to_frame(index=False), notebook.correlations(table, mos)
    assert list(cells["map"].unique()) == ["saliency", "chance", "patches"], "as they were asked"
    assert list(cells.share[:5]) == [0, 0.25, 0.5, 0.75, 1]
    value = pd.Series(samples["SROCC"][:, 0], table.index)["square"]
    assert value["saliency", "MoRF", "black", 0.25] == 0, "the square is gone"
    assert value["saliency", "LeRF", "black", 0.75] == pytest.approx(1)
    area = notebook.gap_table(notebook.areas_between(cells, samples), "map")
    area = area.set_index(["fill", "map", "measure"])
    assert area.value["black", "saliency", "SROCC"] == pytest.approx(0.75)
    assert area.value["black", "patches", "SROCC"] > 0.4
    assert area.p_value["black", "saliency", "SROCC"] < 0.02
    assert area.low["black", "chance", "SROCC"] < area.value["black", "saliency", "SROCC"]
    drop = pd.Series(notebook.score_drop(table)[:, 0], table.index)["square"]
    start, gone, end = (drop["saliency", "MoRF", "black", share] for share in (0, 0.25, 1))
    assert start == 0 and gone == pytest.approx(end)


def test_more_shares_cost_only_the_new_ones(empty_cache):
    pictures = Pictures(3)

    def run(shares):
        CALLS.clear()
        found = masked_scores(SCORER, pictures, [SALIENCY], ["black"], shares, 64)
        return found, sum(CALLS)

    first, calls = run([0, 0.5, 1])
    assert calls == 3 * (1 + 2 + 1), "nothing, half by each strategy, everything"
    assert run([0, 0.25, 0.5, 1])[1] == 3 * 2
    pictures.read = 0
    again, calls = run([0, 0.5, 1])
    assert not calls and not pictures.read
    pd.testing.assert_frame_equal(first, again)


def test_a_run_that_dies_goes_on_and_ends_the_same(empty_cache, monkeypatch):
    left = iter(range(12))

    def dies(images, *_):
        next(left)
        return mean_of_bright_square(images)

    asked = (Pictures(20), [SALIENCY], FILLS, [0, 0.3, 0.5, 1], 64)
    with pytest.raises(ValueError, match="can't score a picture"):
        masked_scores(replace(SCORER, score=dies), *asked)
    CALLS.clear()
    resumed = masked_scores(SCORER, *asked)
    assert 0 < sum(CALLS) < 20 * 16
    monkeypatch.setenv("CACHE_DIR", str(empty_cache / "other"))
    fresh = masked_scores(SCORER, *asked)
    pd.testing.assert_frame_equal(resumed, fresh)


def test_a_picture_that_a_model_cannot_score_gets_its_lowest_and_none_is_left_out(scored, notebook):
    table = notebook.as_table(scored.assign(score=scored.score.where(scored.share < 1)))
    assert np.unique(table.xs(1, level="share")) == scored.score[scored.share < 1].min().round(6)
    with pytest.raises(AssertionError, match="were not scored"):
        notebook.as_table(scored.iloc[1:])


def test_a_published_network_is_explained_as_in_notebook_01(notebook, monkeypatch):
    network = torch.nn.Module()
    network.features1 = torch.nn.Conv2d(3, 2, 3)
    network.default_mean = network.default_std = torch.ones(1, 3, 1, 1)
    scorer = replace(SCORER, name="dbcnn", network=notebook.published.explain("dbcnn", network, 1))
    monkeypatch.setattr(iqa, "metric", lambda name: scorer)
    (of_notebook_01,), _ = functions("01", "").published_sources(["DBCNN"])
    assert notebook.sources_for(scorer, SALIENCY, None)[1].key == of_notebook_01.key


def test_the_centre_goes_first_and_the_corners_last(notebook):
    ranks = relevance_ranks(notebook.centre(Pictures(1)[0]), blur=0)
    assert mask(ranks, 0.1, "MoRF")[32, 32] and mask(ranks, 0.01, "LeRF")[0, 0]
    assert not mask(ranks, 0.1, "LeRF")[20:44, 20:44].any()
