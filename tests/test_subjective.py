"""Votes give back the utilities behind them, or an error; published scores say what is known."""

from itertools import combinations

import choix
import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from scipy.stats import norm

from lib.data.sacid import TEST_CASES, add_conditions, read_scores
from lib.metrics import krcc, plcc
from lib.subjective import (
    ALL_BITRATES,
    bits_saved,
    bootstrap_scores,
    compare_presets,
    count_votes,
    count_wins,
    design_study,
    fit_scores,
    keep_attentive,
    latent_utilities,
    preset_gains,
    recovery,
    score_study,
    simulate_votes,
    summarize_bits,
    summarize_scores,
)

MODELS = ["bradley-terry", "thurstone"]
NAMES = [f"photo{k}" for k in range(60)]


def random_votes(seed, items=12, number=3000):
    """Winners and losers of votes on random pairs, from normal utilities."""
    rng = np.random.default_rng(seed)
    utilities = rng.normal(0, 1, items)
    pairs = np.array(list(combinations(range(items), 2)))
    a, b = rng.choice(pairs, number).T
    first = rng.random(number) < 1 / (1 + np.exp(utilities[b] - utilities[a]))
    return np.where(first, a, b), np.where(first, b, a)


def make_votes(rows):
    """Votes on the sequence x: (assessor, left, right, choice, verification)."""
    columns = ["assessor", "left", "right", "choice", "verification"]
    return pd.DataFrame(rows, columns=columns).assign(sequence="x")


# Plain Newton steps from equal utilities end far off, where the likelihood is flat.
RING = np.zeros((5, 5))
RING[[0, 1, 2, 3, 4, 2, 4], [1, 2, 3, 4, 0, 1, 3]] = [18929, 265, 390, 3, 21, 5, 129]


# --- fits by hand, and against peers ----------------------------------------------------------


def test_bradley_terry_of_two_by_hand():
    # 3 of 4 votes: the difference is ln 3; its information n p q = 4 * 3/4 * 1/4
    table = fit_scores(np.array([[0, 3], [1, 0]])).table(level=0.9)
    assert table.score.tolist() == pytest.approx([np.log(3), 0])
    assert table.standard_error.tolist() == pytest.approx([np.sqrt(4 / 3), 0])
    assert table.high[0] - table.score[0] == pytest.approx(1.6449 * np.sqrt(4 / 3), rel=1e-4)


def test_thurstone_of_two_by_hand():
    table = fit_scores(np.array([[0, 3], [1, 0]]), "thurstone").table()
    assert table.score.tolist() == pytest.approx([norm.ppf(0.75), 0])
    information = 4 * norm.pdf(norm.ppf(0.75)) ** 2 / (0.75 * 0.25)
    assert table.standard_error[0] == pytest.approx(information**-0.5)


def test_chain_of_three_by_hand():
    # a:b is 2:1 and b:c 3:1; nothing joins a and c but b, so the differences add up
    counts = np.array([[0, 2, 0], [1, 0, 3], [0, 1, 0]])
    table = fit_scores(counts).table()
    assert table.score.tolist() == pytest.approx([np.log(6), np.log(3), 0])
    # and so do their variances, 1 / (3 * 2/9) and 1 / (4 * 3/16)
    assert (table.standard_error**2).tolist() == pytest.approx([1.5 + 4 / 3, 4 / 3, 0])


@pytest.mark.parametrize("seed", range(3))
def test_bradley_terry_agrees_with_choix(seed):
    winners, losers = random_votes(seed)
    votes = list(zip(winners.tolist(), losers.tolist(), strict=True))
    ours = fit_scores(count_wins(winners, losers, 12)).utilities
    np.testing.assert_allclose(ours, choix.ilsr_pairwise(12, votes), atol=1e-4)
    peer = choix.opt_pairwise(12, votes[:500], alpha=0, tol=1e-8)
    ours = fit_scores(count_wins(winners[:500], losers[:500], 12)).utilities
    np.testing.assert_allclose(ours, peer - peer.mean(), atol=1e-4)


def test_prior_is_that_of_choix():
    winners, losers = np.repeat([0, 1, 2], 5), np.repeat([1, 2, 3], 5)  # separable
    votes = list(zip(winners.tolist(), losers.tolist(), strict=True))
    # choix 0.4.1 penalises with alpha * sum u^2, where a precision has a half.
    peer = choix.opt_pairwise(4, votes, alpha=0.05, tol=1e-8)
    ours = fit_scores(count_wins(winners, losers, 4), prior=0.1).utilities
    np.testing.assert_allclose(ours, peer, atol=1e-4)


@pytest.mark.parametrize("prior", [0, 0.3])
def test_thurstone_agrees_with_a_direct_search(prior):
    counts = count_wins(*random_votes(3), 12)[:5, :5]

    def loss(u):
        return -(counts * norm.logcdf(u[:, None] - u)).sum() + prior * (u @ u) / 2

    peer = scipy.optimize.minimize(loss, np.zeros(5), tol=1e-10).x
    ours = fit_scores(counts, "thurstone", prior).utilities
    np.testing.assert_allclose(ours, peer - peer.mean(), atol=1e-4)


@pytest.mark.parametrize("counts", [count_wins(*random_votes(4), 12), RING])
def test_expected_wins_are_the_observed_ones_at_the_maximum(counts):
    u = fit_scores(counts).utilities
    expected = (counts + counts.T) / (1 + np.exp(u - u[:, None]))
    np.testing.assert_allclose(expected.sum(axis=1), counts.sum(axis=1), rtol=1e-9)


@pytest.mark.parametrize("prior", [0, 0.5])
@pytest.mark.parametrize("model", MODELS)
def test_covariance_inverts_the_curvature_of_the_likelihood(model, prior):
    counts = count_wins(*random_votes(5), 12)[:4, :4]
    fitted = fit_scores(counts, model, prior)
    log_p = {"bradley-terry": lambda d: -np.log1p(np.exp(-d)), "thurstone": norm.logcdf}[model]
    basis = np.linalg.svd(np.ones((1, 4)))[2][1:].T  # 4 x 3: what sums to 0

    def loss(x):
        u = fitted.utilities + basis @ x
        return -(counts * log_p(u[:, None] - u)).sum() + prior * (u @ u) / 2

    h, steps = 1e-3, 1e-3 * np.eye(3)
    hessian = [
        [(loss(a + b) - loss(a - b) - loss(b - a) + loss(-a - b)) / (4 * h * h) for b in steps]
        for a in steps
    ]
    expected = basis @ np.linalg.inv(hessian) @ basis.T
    np.testing.assert_allclose(fitted.covariance, expected, rtol=1e-3, atol=1e-6)


# --- invariances and anchors ------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_names_and_order_of_the_stimuli_do_not_matter(model):
    counts = pd.DataFrame(count_wins(*random_votes(6), 12), TEST_CASES, TEST_CASES)
    order = np.random.default_rng(0).permutation(12)
    there = fit_scores(counts.iloc[order, order], model).table().set_index("stimulus")
    here = fit_scores(counts, model).table().set_index("stimulus")
    pd.testing.assert_frame_equal(there.loc[list(TEST_CASES)], here, rtol=1e-6, atol=1e-7)


def test_more_of_the_same_votes_leave_scores_and_shrink_errors():
    counts = count_wins(*random_votes(7), 12)
    once, often = fit_scores(counts), fit_scores(10**6 * counts)
    np.testing.assert_allclose(often.utilities, once.utilities, atol=1e-7)
    np.testing.assert_allclose(often.covariance * 10**6, once.covariance, rtol=1e-5, atol=1e-9)


def test_scores_are_anchored_at_the_worst_or_at_the_mean():
    fitted = fit_scores(count_wins(*random_votes(8), 12))
    worst, mean = fitted.table(), fitted.table("mean")
    last = mean.score.idxmin()
    assert mean.score.sum() == pytest.approx(0, abs=1e-9)
    assert worst.loc[last, ["score", "standard_error", "low", "high"]].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(worst.score, mean.score - mean.score[last])
    contrast = np.eye(12)[0] - np.eye(12)[last]
    variance = contrast @ fitted.covariance @ contrast
    assert worst.standard_error[0] == pytest.approx(np.sqrt(variance))
    np.testing.assert_allclose(fitted.covariance.sum(axis=1), 0, atol=1e-12)


# --- data without a finite answer -------------------------------------------------------------


def test_stimulus_that_always_wins_is_an_error_or_the_priors_answer():
    counts = pd.DataFrame([[0, 5, 5], [0, 0, 3], [0, 2, 0]], list("abc"), list("abc"))
    with pytest.raises(ValueError, match=r"\['a'\] never lost .* \(e.g. prior=0.1\)"):
        fit_scores(counts)
    weak, strong = (fit_scores(counts, prior=p).table() for p in (0.01, 1))
    assert weak.score[0] > strong.score[0] > strong.score[1] > 0
    assert weak.standard_error[0] > strong.standard_error[0]


def test_two_groups_of_which_one_always_wins_are_separable_though_each_is_not():
    counts = np.kron(np.array([[1, 4], [0, 1]]), np.ones((2, 2)))
    np.fill_diagonal(counts, 0)
    with pytest.raises(ValueError, match=r"\[0, 1\] never lost"):
        fit_scores(counts)
    counts[2, 0] = 1  # one upset joins them
    assert fit_scores(counts).utilities[:2].min() > 0


def test_stimuli_never_compared_are_an_error_or_the_priors_answer():
    counts = pd.DataFrame(0, list("abcd"), list("abcd"))
    counts.loc["a", "b"], counts.loc["b", "a"], counts.loc["c", "d"] = 3, 1, 1
    with pytest.raises(ValueError, match=r"groups of stimuli: \['a', 'b'\]; \['c', 'd'\]"):
        fit_scores(counts)
    fitted = fit_scores(np.zeros((3, 3)), prior=0.25)
    np.testing.assert_array_equal(fitted.utilities, 0)
    # a difference of two priors of variance 4
    assert fitted.table().standard_error[1] == pytest.approx(np.sqrt(8))


@pytest.mark.parametrize("model", MODELS)
def test_nearly_separable_votes_converge(model):
    counts = np.array([[0, 1e6, 1e6], [1, 0, 1e6], [0, 1, 0]])
    assert np.diff(fit_scores(counts, model).utilities).max() < -3
    assert np.ptp(fit_scores(RING, model).utilities) < 20


@pytest.mark.parametrize(("won", "lost"), [(1e12, 1), (2e-9, 1e-9), (0.5, 1.5)])
def test_any_weights_of_votes_will_do(won, lost):
    table = fit_scores(np.array([[0, won], [lost, 0]])).table("mean")
    assert table.score[0] == pytest.approx(np.log(won / lost) / 2)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (np.ones((2, 3)), "n x n"),
        (np.zeros((1, 1)), "n of 2 or more"),
        ([[0, -1], [1, 0]], "non-negative"),
        ([[0, np.nan], [1, 0]], "finite"),
        ([[1, 1], [1, 0]], "0 on the diagonal"),
        ([[0, 1e300], [1, 0]], "orders of magnitude|Singular"),
    ],
)
def test_broken_counts_are_an_error(counts, words):
    with pytest.raises(ValueError, match=words):
        fit_scores(counts)


def test_unknown_model_anchor_and_negative_prior_are_errors():
    with pytest.raises(ValueError, match="unknown model 'elo'; there are bradley-terry, thurstone"):
        fit_scores(np.ones((2, 2)) - np.eye(2), "elo")
    with pytest.raises(ValueError, match="prior is a precision"):
        fit_scores(np.ones((2, 2)) - np.eye(2), prior=-1)
    with pytest.raises(ValueError, match='anchor is "worst" or "mean"'):
        fit_scores(np.ones((2, 2)) - np.eye(2)).table("best")


@pytest.mark.parametrize(("winner", "loser"), [(2, 0), (0, 2), (-1, 0)])
def test_stimulus_numbers_out_of_range_are_an_error(winner, loser):
    with pytest.raises(ValueError, match="from 0 to 1"):
        count_wins(np.array([winner]), np.array([loser]), 2)


# --- the study --------------------------------------------------------------------------------


@pytest.mark.parametrize("votes_per_pair", [3, 10])
def test_design_is_balanced(votes_per_pair):
    design = design_study(NAMES[:5], votes_per_pair=votes_per_pair, assessors=77, questions=3)
    ordinary = design[design.verification.isna()]
    pair = ordinary[["left", "right"]].apply(lambda row: " ".join(sorted(row)), axis=1)
    shown = ordinary.groupby(["sequence", pair]).size()
    assert len(shown) == 5 * 66
    assert set(shown) == {votes_per_pair}
    assert ordinary.groupby(["assessor", "sequence", pair]).size().max() == 1
    per_person = ordinary.groupby("assessor").size()
    assert len(per_person) == 77
    assert np.ptp(per_person) <= 1
    ways = ordinary.groupby(["sequence", pair, "left"]).size()
    assert set(ways) == {votes_per_pair // 2, (votes_per_pair + 1) // 2}
    left = ordinary.groupby(["sequence", "left"]).size()
    assert abs(left - 11 * votes_per_pair / 2).max() <= 0.5  # of 11 pairs each
    verification = design[design.verification.notna()]
    assert set(verification.groupby("assessor").size()) == {3}
    better = np.where(verification.verification == "left", verification.left, verification.right)
    assert set(better) == {"reference"}


def test_design_shows_each_person_a_random_order():
    design = design_study(NAMES)
    place = design.groupby("assessor").cumcount()[design.verification.notna()]
    assert place.mean() / (len(design) / 1400 - 1) == pytest.approx(0.5, abs=0.03)


def test_seed_decides_design_and_votes():
    designs = [design_study(NAMES[:3], assessors=50, seed=s) for s in (0, 0, 1)]
    assert designs[0].equals(designs[1])
    assert not designs[0].equals(designs[2])
    utilities = latent_utilities(NAMES[:3])
    votes = [simulate_votes(designs[0], utilities, seed=s) for s in (0, 0, 1)]
    assert votes[0].equals(votes[1])
    assert not votes[0].equals(votes[2])
    assert list(votes[0]) == ["assessor", "sequence", "left", "right", "choice", "verification"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sequences": ["x", "y", "x"]}, r"sequences must be .* repeated: \['x'\]"),
        ({"stimuli": ["a", "a", "b"]}, r"stimuli must be .* repeated: \['a'\]"),
        ({"stimuli": []}, "stimuli must be one or more"),
        ({"votes_per_pair": 51}, "nobody sees a pair twice"),
        ({"votes_per_pair": 0}, "from 1"),
        ({"questions": -1}, "questions 0 or more"),
        ({"obvious": ("a", "a")}, "two different stimuli"),
    ],
)
def test_impossible_design_is_an_error(change, words):
    with pytest.raises(ValueError, match=words):
        design_study(**({"sequences": ["x", "y"], "assessors": 50} | change))


@pytest.mark.parametrize(("model", "share"), [("bradley-terry", 0.7311), ("thurstone", 0.8413)])
def test_simulated_people_choose_as_the_model_says(model, share):
    design = design_study(["x"], ["a", "b"], 20000, 20000, questions=0)
    utilities = pd.DataFrame([[1.0, 0.0]], ["x"], ["a", "b"])
    for inattentive, expected in [(0, share), (1, 0.5), (0.5, (share + 0.5) / 2)]:
        counts = count_votes(simulate_votes(design, utilities, inattentive, model), ["a", "b"])
        assert counts.loc["a", "b"] / 20000 == pytest.approx(expected, abs=0.011)  # 3 errors


def test_utilities_that_do_not_fit_the_design_are_an_error():
    design, utilities = design_study(["x", "y"], assessors=20), latent_utilities(["x", "y"])
    for broken, words in [
        (utilities.loc[["x"]], r"not among the sequences of utilities: \['y'\]"),
        (utilities.drop(columns="reference"), r"not among the utilities: \['reference'\]"),
        (utilities.loc[["x", "y", "y"]], r"repeated: \['y'\]"),
        (utilities * np.nan, "utilities hold NaN"),
    ]:
        with pytest.raises(ValueError, match=words):
            simulate_votes(design, broken)
    with pytest.raises(ValueError, match="inattentive is a share"):
        simulate_votes(design, utilities, inattentive=10)


def test_filter_by_hand():
    votes = make_votes(
        [
            ("ann", "a", "b", "left", None),
            ("ann", "ref", "a", "left", "left"),
            ("bob", "a", "b", "right", None),
            ("bob", "a", "ref", "left", "right"),
            ("bob", "ref", "a", "left", "left"),
        ]
    )
    assert set(keep_attentive(votes).assessor) == {"ann"}
    assert set(keep_attentive(votes, errors_allowed=1).assessor) == {"ann", "bob"}
    with pytest.raises(ValueError, match="none of 1 assessors passes"):
        keep_attentive(votes[votes.assessor == "bob"])
    with pytest.raises(ValueError, match=r"without a verification question: \['ann'\]"):
        keep_attentive(votes[votes.verification != "left"])


def test_filter_keeps_who_looks_and_a_quarter_of_who_tosses_a_coin():
    design, utilities = design_study(NAMES), latent_utilities(NAMES)
    kept = [
        keep_attentive(simulate_votes(design, utilities, share)).assessor.nunique() / 1400
        for share in (0, 1)
    ]
    assert kept[0] > 0.995
    assert kept[1] == pytest.approx(0.25, abs=0.035)


def test_votes_are_counted_for_the_chosen_and_verification_is_not_counted():
    votes = make_votes(
        [
            ("ann", "a", "b", "left", None),
            ("ann", "b", "a", "left", None),
            ("bob", "b", "c", "right", None),
            ("bob", "a", "b", "left", None),
            ("bob", "ref", "a", "left", "left"),
        ]
    )
    expected = pd.DataFrame([[0, 2, 0], [1, 0, 0], [0, 1, 0]], list("abc"), list("abc"))
    pd.testing.assert_frame_equal(count_votes(votes, list("abc")), expected)


@pytest.mark.parametrize(
    ("row", "stimuli", "words"),
    [
        (("ann", "a", "z", "left", None), "abc", r"not among the stimuli: \['z'\]"),
        (("ann", "a", None, "left", None), "abc", "not among the stimuli"),
        (("ann", "a", "a", "left", None), "abc", "a was compared with itself"),
        (("ann", "a", "b", "a", None), "abc", 'neither "left" nor "right"'),
        (("ann", "a", "b", "left", None), "aba", r"repeated: \['a'\]"),
    ],
)
def test_broken_votes_are_an_error(row, stimuli, words):
    with pytest.raises(ValueError, match=words):
        count_votes(make_votes([row]), list(stimuli))


def test_votes_on_two_sequences_are_an_error_and_errors_name_the_sequence():
    votes = make_votes([("ann", "a", "b", c, None) for c in ("left", "right")])
    unanimous = votes.assign(sequence="y", choice="left")
    both = pd.concat([votes, unanimous])
    with pytest.raises(ValueError, match="give votes on one sequence"):
        count_votes(both, ["a", "b"])
    with pytest.raises(ValueError, match=r"y: \['a'\] never lost"):
        score_study(both, ["a", "b"])
    with pytest.raises(ValueError, match=r"x: no vote compares .*\['c'\]"):
        score_study(votes, ["a", "b", "c"])
    assert len(score_study(both, ["a", "b"], prior=0.1)) == 4


# --- recovery of known utilities --------------------------------------------------------------


def study(seed, inattentive):
    """Votes of 1,400 simulated assessors on 60 sequences, and the utilities, worst at 0."""
    utilities = latent_utilities(NAMES, seed=seed)
    votes = simulate_votes(design_study(NAMES, seed=seed), utilities, inattentive, seed=seed)
    return votes, utilities[list(TEST_CASES)]


def test_study_recovers_utilities_and_inattention_shrinks_them():
    votes, utilities = study(0, 0.1)
    truth = (utilities - utilities.mean(axis=1).to_numpy()[:, None]).to_numpy()
    found = {}
    for name, block in [("all", votes), ("kept", keep_attentive(votes))]:
        wide = score_study(block).pivot(
            index="sequence", columns="test_case", values="subjective_score"
        )
        wide = wide.loc[utilities.index, utilities.columns].to_numpy()
        found[name] = wide - wide.mean(axis=1, keepdims=True)
    correlations = [plcc(a, b) for a, b in zip(truth, found["kept"], strict=True)]
    assert np.mean(correlations) > 0.975
    assert min(correlations) > 0.93
    slope = {name: (truth * f).sum() / (truth**2).sum() for name, f in found.items()}
    assert slope["kept"] == pytest.approx(1, abs=0.07)
    assert slope["all"] < 0.85


def test_recovery_by_hand():
    truth = pd.DataFrame([[0.0, 1.0, 3.0]], ["x"], ["a", "b", "c"])
    scored = pd.DataFrame(
        {
            "sequence": "x",
            "test_case": ["c", "b", "a"],
            "subjective_score": [6.0, 2.0, 0.0],
            "low": [4.0, 0.5, 0.0],
            "high": [8.0, 3.5, 0.0],
        }
    )
    found = recovery(scored, truth).iloc[0]
    assert (found.plcc, found.slope) == pytest.approx((1, 2))
    assert found.covered == 0.5  # b is, c is not, a is the anchor


def test_intervals_cover_the_truth_as_often_as_they_say():
    covered = []
    for seed in range(4):
        votes, utilities = study(seed, 0)
        for sequence, block in votes.groupby("sequence"):
            fitted = fit_scores(count_votes(block))
            truth = utilities.loc[sequence].to_numpy()
            worst = fitted.utilities.argmin()
            for anchor, origin in [("mean", truth.mean()), ("worst", truth[worst])]:
                table = fitted.table(anchor)
                inside = (table.low <= truth - origin) & (truth - origin <= table.high)
                covered.append((anchor, inside.drop(worst).mean()))
    share = pd.DataFrame(covered, columns=["anchor", "share"]).groupby("anchor").share.mean()
    assert share["mean"] == pytest.approx(0.95, abs=0.015)
    assert share["worst"] == pytest.approx(0.95, abs=0.02)


def test_bootstrap_errors_are_those_of_the_information_where_votes_are_independent():
    votes, _ = study(1, 0)
    votes = votes[votes.sequence == NAMES[0]]
    resampled = bootstrap_scores(votes, n_boot=200)
    fitted = fit_scores(count_votes(votes))
    np.testing.assert_allclose(resampled.utilities, fitted.utilities, atol=1e-8)
    ratio = resampled.table("mean").standard_error / fitted.table("mean").standard_error
    assert ratio.mean() == pytest.approx(1, abs=0.1)
    assert resampled.covariance.tolist() == bootstrap_scores(votes, n_boot=200).covariance.tolist()


def test_bootstrap_sees_that_one_persons_votes_belong_together():
    # Four people, each voting 20 times the same way: 4 opinions, not 80
    votes = make_votes([(n, "a", "b", "left" if n else "right", None) for n in range(4)] * 20)
    resampled = bootstrap_scores(votes, ["a", "b"], prior=0.1).table().standard_error.max()
    assert resampled > 3 * fit_scores(count_votes(votes, ["a", "b"])).table().standard_error.max()


# --- the published scores ---------------------------------------------------------------------


def test_published_means_are_the_known_ones():
    table = summarize_scores(read_scores())
    means = table.pivot(index="bpp", columns="preset", values="mean").round(2)
    assert list(means) == ["none", "p132", "p220", "p310"]
    assert means.loc[0.08].tolist() == [0.49, 1.16, 1.18, 0.74]
    assert means.loc[0.12].tolist() == [2.44, 2.99, 3.07, 2.61]
    assert means.loc[0.16].tolist() == [3.51, 4.12, 4.11, 3.71]
    assert set(table.n) == {60}
    assert ((table.low < table["mean"]) & (table["mean"] < table.high)).all()


def test_published_scores_are_720_with_0_for_the_worst_of_each_sequence():
    scores = read_scores()
    assert len(scores) == 720
    assert (scores.groupby("sequence").subjective_score.min() == 0).all()


def test_presets_against_the_plain_codec_as_published():
    table = compare_presets(preset_gains(read_scores())).set_index(["bitrate", "preset"])
    overall = table.loc[ALL_BITRATES]
    assert overall.wins.to_dict() == {"p132": 48, "p220": 48, "p310": 38}
    assert (table.wins + table.losses == 60).all()
    assert overall.p_sign["p220"] < 1e-5
    assert overall.p_sign["p310"] > 0.05
    assert overall.low["p220"] > 0 > overall.low["p310"]
    assert overall.effect_size["p132"] == pytest.approx(0.74, abs=0.01)


def test_bitrate_alone_orders_a_sequence_almost_perfectly():
    scores = read_scores()
    plain = scores[scores.preset == "none"]
    assert all(krcc(s.bpp, s.subjective_score) == 1 for _, s in plain.groupby("sequence"))


def curves(**presets):
    """A table of scores of one sequence: three by rising bitrate for each preset."""
    rows = [
        ("x", f"h264v@targetbbp100={bpp}_preset={preset}", score)
        for preset, points in presets.items()
        for bpp, score in zip((8, 12, 16), points, strict=True)
    ]
    return add_conditions(pd.DataFrame(rows, columns=["sequence", "test_case", "subjective_score"]))


def test_gains_by_hand():
    gains = preset_gains(curves(none=(0, 1, 2), p132=(1, 1, 4), p310=(0, 0.5, 1)))
    wide = gains.pivot(index="preset", columns="bitrate", values="gain")
    assert wide.loc["p132"].tolist() == [1, 0, 2, 1]  # 0.08, 0.12, 0.16 bpp, all bitrates
    assert wide.loc["p310"].tolist() == [0, -0.5, -1, -0.5]


def test_sign_test_by_hand():
    gains = pd.DataFrame({"preset": "p132", "bitrate": "0.08 bpp", "gain": [1, 2, 3, 0, 4, -1.0]})
    row = compare_presets(gains).iloc[0]
    assert (row.wins, row.losses, row.n) == (4, 1, 6)
    assert row.p_sign == pytest.approx(12 / 32)  # at most one of five: 6 / 32 on either side
    nothing = compare_presets(gains.assign(gain=0.0)).iloc[0]
    assert (nothing.wins, nothing.p_sign, nothing.effect_size) == (0, 1, 0)


def test_bits_saved_by_hand():
    # Scores are straight over ln bpp. The preset is as good at 0.8 of the bits everywhere.
    plain = 10 * np.log([8, 12, 16])
    saved = bits_saved(curves(none=plain, p132=plain + 10 * np.log(1 / 0.8))).iloc[0]
    assert saved.log_ratio == pytest.approx(np.log(0.8))
    assert saved.saved == pytest.approx(20)
    # The same the other way round needs a quarter more.
    saved = bits_saved(curves(none=plain + 10 * np.log(1 / 0.8), p132=plain)).iloc[0]
    assert saved.saved == pytest.approx(-25)


def test_bits_saved_averages_over_common_scores_only():
    # Common scores 1 to 2: the preset goes from 0.08 to 0.12 bpp, the plain codec to 0.16.
    saved = bits_saved(curves(none=(0, 1, 2), p132=(1, 2, 9))).iloc[0]
    expected = (np.log(8 / 12) + np.log(12 / 16)) / 2
    assert saved.log_ratio == pytest.approx(expected)


@pytest.mark.parametrize(
    ("points", "note"),
    [
        ((2, 3, 4), "no score in common"),
        ((-3, -2, -1), "no score in common"),
        ((0, 2, 1), "score does not rise with bitrate"),
        ((0, 0, 1), "score does not rise with bitrate"),
    ],
)
def test_bits_are_not_compared_outside_the_measured_range(points, note):
    saved = bits_saved(curves(none=(0, 1, 2), p132=points)).iloc[0]
    assert np.isnan(saved.saved)
    assert saved.note == note


def test_bits_saved_as_published():
    saved = bits_saved(read_scores())
    assert len(saved) == 180
    assert (saved.saved.isna() == (saved.note != "")).all()
    table = summarize_bits(saved).set_index("preset")
    assert table.comparable.to_dict() == {"p132": 59, "p220": 58, "p310": 60}
    assert table.saved.round(0).to_dict() == {"p132": 11, "p220": 12, "p310": 3}
    assert table.low["p220"] > 0 > table.low["p310"]
    assert ((table.low < table.saved) & (table.saved < table.high)).all()
