"""Table III's statistics are what they are said to be; scoring loses nothing and hides nothing."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from PIL import Image
from scipy.special import expit
from skimage.data import chelsea, coffee

from lib import benchmark, iqa
from lib.benchmark import (
    CEILING,
    DAGGER,
    DUMMY,
    FITTED,
    agreement,
    attention_curve,
    compare_metrics,
    conclusion,
    fitted_plcc,
    main,
    noise_ceiling,
    plot_ranking,
    plot_significance,
    pooled,
    score_pictures,
    summarize,
)
from lib.data.sacid import SACID, TEST_CASES, build, read_scores
from lib.paths import ROOT

RNG = np.random.default_rng(0)


def middle(image):
    """A saliency map that falls off from the middle."""
    y, x = (np.linspace(-1, 1, side) for side in image.shape[:2])
    return np.exp(-2 * (y[:, None] ** 2 + x[None, :] ** 2))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A folder in SACID's layout, made by the builder, with scores in moses.csv."""
    folder, root = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("sacid")
    Image.fromarray(coffee()[:192, 200:440]).save(folder / "coffee.png")
    Image.fromarray(chelsea()[60:204, :176]).save(folder / "cat.png")
    manifest = build(folder, root, middle)
    scores = manifest[["sequence", "test_case"]].assign(
        subjective_score=10 * manifest.target_bpp + RNG.normal(0, 0.3, len(manifest)).round(3)
    )
    scores.to_csv(root / "moses.csv", index=False)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    benchmark._metric.cache_clear()


@pytest.fixture
def people():
    return read_scores().rename(columns={"subjective_score": "score"})


def entry(score, lower_better=False, key="k"):
    """A registry entry of a metric that a test makes up."""
    return iqa.Entry("beyond the paper", lambda: (score, lower_better, key))


# --- statistics -------------------------------------------------------------------------------


def test_bitrate_alone_reaches_the_known_correlations_with_people(people):
    people[DUMMY] = people.bpp
    found = agreement(people, {DUMMY: 1})
    assert len(found) == 60
    assert found[["SROCC", "PLCC"]].mean().round(3).tolist() == [0.9, 0.9]
    assert (found[DAGGER] == 0).all()
    row = pooled(people, {DUMMY: 1}).iloc[0]
    assert (round(row.SROCC, 3), round(row.PLCC, 3), row.n) == (0.752, 0.734, 720)


def test_grouped_krcc_is_scipys_in_each_group(people):
    people["noise"] = people.score + RNG.normal(0, 1, len(people))
    found = agreement(people, {"noise": 1}).set_index("sequence")[DAGGER]
    for sequence in people.sequence.unique()[:10]:
        block = people[people.sequence == sequence]
        taus = [
            scipy.stats.kendalltau(group.noise, group.score).statistic
            for _, group in block.groupby("bpp")
        ]
        assert len(taus) == 3 and found[sequence] == pytest.approx(np.mean(taus))


def test_a_metric_for_which_lower_is_better_is_turned_round(people):
    people["error"] = -people.score
    found = agreement(people, {"error": -1})
    assert found[["SROCC", "PLCC", DAGGER]].to_numpy() == pytest.approx(1)
    assert pooled(people, {"error": -1}).SROCC.item() == pytest.approx(1)


def test_a_sequence_with_a_hole_is_left_out_and_counted(people):
    people["holed"] = people.score.where(people.index != 5)
    found = agreement(people, {"holed": 1})
    assert len(found) == 59 and people.sequence[5] not in set(found.sequence)
    assert set(summarize(found).n) == {59} and pooled(people, {"holed": 1}).n.item() == 719


def test_a_metric_that_scored_next_to_nothing_is_left_out(people):
    few = people.assign(PSNR=people.score, SSIM=people.score.where(people.index < 12))
    few["VIF"] = np.nan
    signs = {"PSNR": 1, "SSIM": 1, "VIF": 1}
    found = agreement(few, signs)
    assert set(summarize(found).method) == {"PSNR"} and compare_metrics(found).empty
    with pytest.raises(ValueError, match="nothing to compare"):
        plot_significance(compare_metrics(found))
    assert set(pooled(few, signs).method) == {"PSNR", "SSIM"}


def test_without_peoples_scores_there_is_nothing_to_agree_with(people):
    with pytest.raises(ValueError, match="no score by people"):
        agreement(people.assign(score=np.nan, a=1.0), {"a": 1})


def test_the_fit_straightens_a_logistic_relation():
    x = np.linspace(-4, 4, 12)
    assert fitted_plcc(x, expit(2 * x)) == pytest.approx(1, abs=1e-6)
    assert fitted_plcc(1e6 * x + 1e9, expit(2 * x)) == pytest.approx(1, abs=1e-6)
    assert scipy.stats.pearsonr(x, expit(2 * x)).statistic < 0.95
    assert fitted_plcc(np.ones(12), x) == 0
    jumps = RNG.normal(size=12)  # whatever the fit does here, it answers
    assert -1 <= fitted_plcc(jumps, x) <= 1


def test_the_summary_has_the_papers_rows_and_values():
    methods = ["EW-PSNR", "PSNR", "FSIM", DUMMY]
    rows = [
        {"method": m, "sequence": s, "SROCC": v, "PLCC": v, FITTED: v, DAGGER: v}
        for m in methods
        for s, v in enumerate(RNG.random(6))
    ]
    table = summarize(pd.DataFrame(rows))
    assert list(table.method.unique()) == ["PSNR", "EW-PSNR", "FSIM", DUMMY]  # the paper's order
    first = table[table.method == "EW-PSNR"].set_index("metric")
    assert first.paper.to_dict() == {"SROCC": 0.875, "PLCC": 0.893, DAGGER: 0.356}
    assert set(table[table.method == "PSNR"].group) == {"NSS based"}
    assert table[table.method.isin(["FSIM", DUMMY])].paper.isna().all()
    assert ((table.low <= table.value) & (table.value <= table.high)).all()
    mean = np.mean([r["SROCC"] for r in rows if r["method"] == "FSIM"])
    assert table[table.method == "FSIM"].value.iloc[0] == pytest.approx(mean)


def test_pairs_are_compared_over_the_sequences_that_both_have():
    rows = [("a", s, 0.8 + 0.01 * s) for s in range(20)] + [("b", s, 0.1) for s in range(18)]
    rows += [("c", s, 0.1 + 0.001 * (-1) ** s) for s in range(20)]
    found = compare_metrics(pd.DataFrame(rows, columns=["method", "sequence", DAGGER]))
    assert list(zip(found.a, found.b, strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert list(found.n) == [18, 20, 18]
    assert (found.p_holm[:2] < 0.01).all() and found.p_holm[2] > 0.05
    assert (found.p_holm >= found.p_value).all()
    assert found.mean_difference[0] == pytest.approx(np.mean(0.7 + 0.01 * np.arange(18)))
    figure = plot_significance(found)
    (points,) = figure.axes[0].lines
    assert len(points.get_xdata()) == 4, "two sure pairs, on either side of the diagonal"


def test_more_votes_raise_the_ceiling(people):
    some = people[people.sequence.isin(people.sequence.unique()[:8])]
    few, many = (noise_ceiling(some, n, 60, repeats=2) for n in (3, 60))
    assert set(few.method) == {CEILING} and len(few) == 8
    for statistic in ("SROCC", "PLCC", DAGGER):
        assert few[statistic].mean() < many[statistic].mean() <= 1
    assert few[DAGGER].mean() > 0.2
    pd.testing.assert_frame_equal(few, noise_ceiling(some, 3, 60, repeats=2))


def test_the_conclusion_is_said_from_the_numbers():
    values = {"PSNR": 0.7, "EW-PSNR": 0.95, DUMMY: 0.9, CEILING: 0.99}
    rows = [
        {"method": m, "sequence": s, "SROCC": v, "PLCC": v, FITTED: v, DAGGER: v + 0.001 * s}
        for m, v in values.items()
        for s in range(10)
    ]
    found = pd.DataFrame(rows)
    kind = "people"
    text = conclusion(summarize(found), compare_metrics(found[found.method != CEILING]), kind)
    assert "0.900; 1 of 2 metrics" in text and "best are EW-PSNR (0.95" in text
    assert "Weighting PSNR by saliency changes its KRCC† by +0.250 [+0.250, +0.250]" in text


# --- scoring ----------------------------------------------------------------------------------


def test_scores_are_the_metrics_own(tree):
    sacid = SACID(tree)
    scored = score_pictures(sacid, ["PSNR", "EW-PSNR", "GMSD"])
    assert scored.signs == {"PSNR": 1, "EW-PSNR": 1, "GMSD": -1, DUMMY: 1} and not scored.missing
    assert len(scored.table) == 24 and scored.table[list(scored.signs)].notna().all(axis=None)
    for row in (0, 13, 23):
        sequence = scored.table.sequence[row]
        reference, saliency = sacid.reference(sequence), sacid.saliency_map(sequence)
        picture = sacid[row].image
        for name in ("PSNR", "EW-PSNR", "GMSD"):
            alone = iqa.metric(name).score(picture[None], reference, saliency)[0]
            assert scored.table[name][row] == pytest.approx(alone, abs=1e-6)
        assert scored.table.score[row] == sacid[row].mos


def test_known_scores_are_not_computed_again_and_new_weights_or_pictures_are(tree, monkeypatch):
    calls = []

    def score(image, *_):
        calls.append(image.shape)
        return image.mean()

    def run(root, key):
        monkeypatch.setitem(iqa.REGISTRY, "mean", entry(score, key=key))
        benchmark._metric.cache_clear()
        return score_pictures(SACID(root), ["mean"]).table

    first = run(tree, "weights 1")
    assert len(calls) == 24
    pd.testing.assert_frame_equal(first, run(tree, "weights 1"))
    assert len(calls) == 24
    run(tree, "weights 2")
    assert len(calls) == 48
    path = tree / "compressed" / "cat" / f"{TEST_CASES[3]}.jpg"
    before = path.read_bytes()
    try:
        Image.new("RGB", (176, 144), "white").save(path)
        assert run(tree, "weights 1").mean(numeric_only=True)["mean"] > first["mean"].mean()
    finally:
        path.write_bytes(before)
    assert len(calls) == 60, "the other sequence is as it was"


def test_a_metric_that_fails_on_a_picture_leaves_a_hole_with_its_reason(tree, monkeypatch):
    fails, odd = (SACID(tree)[row].image.mean() for row in (5, 7))

    def score(image, *_):
        if np.isclose(image.mean(), fails):
            raise RuntimeError("no faces found\nand more")
        return np.nan if np.isclose(image.mean(), odd) else image.mean()

    monkeypatch.setitem(iqa.REGISTRY, "mean", entry(score))
    scored = score_pictures(SACID(tree), ["mean", "PSNR"])
    assert list(scored.table.index[scored.table["mean"].isna()]) == [5, 7]
    assert scored.table.PSNR.notna().all()
    assert scored.missing == {
        f"mean: cat/{TEST_CASES[5]}": "no faces found",
        f"mean: cat/{TEST_CASES[7]}": "the score is nan",
    }
    again = score_pictures(SACID(tree), ["mean", "PSNR"])
    assert again.missing == scored.missing, "a failure is not kept as a result"


def test_a_metric_without_weights_is_named_and_the_others_go_on(tree, monkeypatch):
    def no_weights():
        raise ConnectionError("no weights; run this")

    monkeypatch.setitem(iqa.REGISTRY, "far", iqa.Entry("NR", no_weights))
    scored = score_pictures(SACID(tree), ["far", "PSNR"])
    assert scored.missing == {"far": "no weights; run this"} and "far" not in scored.table
    with pytest.raises(KeyError, match="no metric 'PSNRR'"):
        score_pictures(SACID(tree), ["PSNRR"])


def test_a_killed_run_goes_on_and_gives_the_same(tree, tmp_path, monkeypatch):
    whole = score_pictures(SACID(tree), ["PSNR", "BRISQUE"])
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "another cache"))
    put, left = benchmark.Store.put, iter(range(2))

    def dies(self, name, value):
        if self.folder.parent.name == "iqa-scores" and next(left, None) is None:
            raise KeyboardInterrupt  # as the third result is to be written
        return put(self, name, value)

    with monkeypatch.context() as patch:
        patch.setattr(benchmark.Store, "put", dies)
        with pytest.raises(KeyboardInterrupt):
            score_pictures(SACID(tree), ["PSNR", "BRISQUE"])
    again = score_pictures(SACID(tree), ["PSNR", "BRISQUE"])
    pd.testing.assert_frame_equal(again.table, whole.table)


@pytest.mark.slow
def test_processes_give_the_same(tree):
    here = score_pictures(SACID(tree), ["PSNR", "GMSD"])
    benchmark._metric.cache_clear()
    there = score_pictures(SACID(tree), ["PSNR", "GMSD"], jobs=2)
    pd.testing.assert_frame_equal(there.table, here.table)


def test_attention_goes_from_psnr_to_ew_psnr(tree):
    sacid = SACID(tree)
    curve = attention_curve(sacid, [0, 0.5, 1]).set_index(["method", "sequence"])
    scored = score_pictures(sacid, ["PSNR", "EW-PSNR"])
    ends = agreement(scored.table, scored.signs).set_index(["method", "sequence"])
    for share, name in ((0.0, "PSNR"), (1.0, "EW-PSNR")):
        ours, theirs = (t.loc[k, "PLCC"] for t, k in ((curve, share), (ends, name)))
        assert ours.to_numpy() == pytest.approx(theirs.to_numpy(), abs=1e-4)


def test_one_command_benchmarks_a_folder_of_the_builder(tree, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    assert main([str(tree), "--metrics", "PSNR", "EW-PSNR", "--scores", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "| EW-PSNR" in printed and "Target bitrate" in printed and "0.875" in printed
    assert len(pd.read_csv(out)) == 24
    assert main([str(tree), "--metrics", "PSNRR"]) == 1
    assert "error: no metric 'PSNRR'" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing")]) == 1
    assert "error: no SACID at" in capsys.readouterr().err
    (bare := tmp_path / "bare").symlink_to(tree)
    assert main([str(bare), "--metrics", "GMSD"]) == 0


def test_figure_3_marks_what_uses_saliency():
    table = pd.read_csv(ROOT / "figures" / "sample" / "table3.csv")
    figure = plot_ranking(table)
    marks = {c.lines[0].get_marker() for axis in figure.axes for c in axis.containers}
    assert marks == {"*", "D", "o"}
    names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert len(names) == 10 and {"PSNR", "VIF"} <= set(names)
