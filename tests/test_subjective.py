"""Votes give back the utilities behind them, or an error."""

from itertools import combinations

import choix
import numpy as np
import pandas as pd
import pytest

from lib.codec import TEST_CASES
from lib.data.sacid import read_scores
from lib.stats import plcc
from lib.subjective import (
    REFERENCE,
    count_votes,
    design_study,
    fit_scores,
    keep_attentive,
    score_study,
    simulate_votes,
)

NAMES = [f"photo{k}" for k in range(60)]


def random_counts(seed, items=12, number=3000):
    """Counts of votes on random pairs, from normal utilities."""
    rng = np.random.default_rng(seed)
    utilities = rng.normal(0, 1, items)
    a, b = rng.choice(np.array(list(combinations(range(items), 2))), number).T
    first = rng.random(number) < 1 / (1 + np.exp(utilities[b] - utilities[a]))
    counts = np.zeros((items, items))
    np.add.at(counts, (np.where(first, a, b), np.where(first, b, a)), 1)
    return pd.DataFrame(counts)


def latent_utilities(seed, names=NAMES):
    """Utilities around the published means: sequences x (test cases and the reference)."""
    means = read_scores().groupby("test_case").subjective_score.mean()[TEST_CASES]
    noise = np.random.default_rng(seed).normal(0, 0.65, (len(names), 12))
    utilities = pd.DataFrame(means.to_numpy() + noise, names, TEST_CASES)
    return utilities.assign(**{REFERENCE: utilities.max(axis=1) + 4})


def make_votes(rows):
    """Votes on the sequence x: (assessor, left, right, choice, verification)."""
    columns = ["assessor", "left", "right", "choice", "verification"]
    return pd.DataFrame(rows, columns=columns).assign(sequence="x")


# Plain Newton steps from equal utilities end far off, where the likelihood is flat.
RING = pd.DataFrame(np.zeros((5, 5)))
for winner, loser, number in (
    (0, 1, 18929),
    (1, 2, 265),
    (2, 3, 390),
    (3, 4, 3),
    (4, 0, 21),
    (2, 1, 5),
    (4, 3, 129),
):
    RING.loc[winner, loser] = number


# --- fits by hand, and against peers ----------------------------------------------------------


def test_bradley_terry_of_two_by_hand():
    # 3 of 4 votes: the difference is ln 3; its information n p q = 4 * 3/4 * 1/4
    table = fit_scores(pd.DataFrame([[0, 3], [1, 0]]))
    assert table.subjective_score.tolist() == pytest.approx([np.log(3), 0])
    assert table.standard_error.tolist() == pytest.approx([np.sqrt(4 / 3), 0])
    assert table.high[0] - np.log(3) == pytest.approx(1.96 * np.sqrt(4 / 3), rel=1e-4)


def test_chain_of_three_by_hand():
    # a:b is 2:1 and b:c 3:1; nothing joins a and c but b, so the differences add up
    table = fit_scores(pd.DataFrame([[0, 2, 0], [1, 0, 3], [0, 1, 0]]))
    assert table.subjective_score.tolist() == pytest.approx([np.log(6), np.log(3), 0])
    # and so do their variances, 1 / (3 * 2/9) and 1 / (4 * 3/16)
    assert (table.standard_error**2).tolist() == pytest.approx([1.5 + 4 / 3, 4 / 3, 0])


@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_a_direct_search(seed):
    counts = random_counts(seed)
    votes = [(i, j) for i in range(12) for j in range(12) for _ in range(int(counts.loc[i, j]))]
    peer = choix.opt_pairwise(12, votes, alpha=0, tol=1e-8)
    ours = fit_scores(counts).subjective_score
    np.testing.assert_allclose(ours, peer - peer.min(), atol=1e-4)


@pytest.mark.parametrize("counts", [random_counts(4), RING], ids=["random", "ring"])
def test_expected_wins_are_the_observed_ones_at_the_maximum(counts):
    u, counts = fit_scores(counts).subjective_score.to_numpy(), counts.to_numpy()
    expected = (counts + counts.T) / (1 + np.exp(u - u[:, None]))
    np.testing.assert_allclose(expected.sum(axis=1), counts.sum(axis=1), rtol=1e-6)


def test_errors_invert_the_curvature_of_the_likelihood():
    counts = random_counts(5).to_numpy()[:4, :4]
    table = fit_scores(pd.DataFrame(counts))
    free = np.flatnonzero(table.subjective_score > 0)

    def loss(step):
        u = table.subjective_score.to_numpy().copy()
        u[free] += step  # the worst stays at 0
        return (counts * np.log1p(np.exp(u - u[:, None]))).sum()

    h, steps = 1e-3, 1e-3 * np.eye(3)
    hessian = [
        [(loss(a + b) - loss(a - b) - loss(b - a) + loss(-a - b)) / (4 * h * h) for b in steps]
        for a in steps
    ]
    expected = np.sqrt(np.diag(np.linalg.inv(hessian)))
    np.testing.assert_allclose(table.standard_error.iloc[free], expected, rtol=1e-3)


# --- invariances ------------------------------------------------------------------------------


def test_names_and_order_of_the_stimuli_do_not_matter():
    counts = random_counts(6).set_axis(TEST_CASES).set_axis(TEST_CASES, axis=1)
    order = np.random.default_rng(0).permutation(12)
    there, here = fit_scores(counts.iloc[order, order]), fit_scores(counts)
    pd.testing.assert_frame_equal(there.loc[TEST_CASES], here, rtol=1e-6, atol=1e-7)


def test_more_of_the_same_votes_leave_scores_and_shrink_errors():
    once, often = fit_scores(random_counts(7)), fit_scores(10**6 * random_counts(7))
    np.testing.assert_allclose(often.subjective_score, once.subjective_score, atol=1e-7)
    np.testing.assert_allclose(often.standard_error * 10**3, once.standard_error, rtol=1e-5)


# --- data without a finite answer -------------------------------------------------------------


@pytest.mark.parametrize(
    "counts",
    [
        [[0, 5, 5], [0, 0, 3], [0, 2, 0]],  # the first always won
        np.kron([[1, 4], [0, 1]], np.ones((2, 2))) - np.eye(4),  # two always beat the other two
        [[0, 3, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],  # never compared
    ],
)
def test_without_a_chain_of_wins_it_is_an_error_or_alphas_answer(counts):
    counts = pd.DataFrame(counts).rename(index={0: "a"}, columns={0: "a"})
    with pytest.raises(ValueError, match=r"^(a|2) never lost .* \(Ford, 1957\): .* give alpha"):
        fit_scores(counts)
    weak, strong = (fit_scores(counts, alpha).subjective_score for alpha in (0.01, 0.5))
    assert np.isfinite(weak).all() and weak.max() > strong.max() > 0


def test_alpha_leaves_alone_what_has_a_finite_answer():
    counts = random_counts(8)
    pd.testing.assert_frame_equal(fit_scores(counts, 0.5), fit_scores(counts))


def test_nearly_separable_votes_converge():
    counts = pd.DataFrame([[0, 1e6, 1e6], [1, 0, 1e6], [0, 1, 0]])
    assert np.diff(fit_scores(counts).subjective_score).max() < -3
    assert np.ptp(fit_scores(RING).subjective_score) < 20


# --- the study --------------------------------------------------------------------------------


@pytest.mark.parametrize("votes_per_pair", [3, 10])
def test_design_is_balanced(votes_per_pair):
    sizes = {"votes_per_pair": votes_per_pair, "assessors": 77, "questions": 3}
    design = design_study(NAMES[:5], **sizes)
    ordinary = design[design.verification.isna()]
    pair = ordinary[["left", "right"]].apply(lambda row: " ".join(sorted(row)), axis=1)
    shown = ordinary.groupby(["sequence", pair]).size()
    assert len(shown) == 5 * 66 and set(shown) == {votes_per_pair}
    assert ordinary.groupby(["assessor", "sequence", pair]).size().max() == 1
    per_person = ordinary.groupby("assessor").size()
    assert len(per_person) == 77 and np.ptp(per_person) <= 1
    ways = ordinary.groupby(["sequence", pair, "left"]).size()
    assert set(ways) == {votes_per_pair // 2, (votes_per_pair + 1) // 2}
    left = ordinary.groupby(["sequence", "left"]).size()
    assert abs(left - 11 * votes_per_pair / 2).max() <= 0.5  # of 11 pairs each
    asked = design[design.verification.notna()]
    assert set(asked.groupby("assessor").size()) == {3}
    better = np.where(asked.verification == "left", asked.left, asked.right)
    assert set(better) == {REFERENCE}


def test_design_shows_each_person_a_random_order():
    design = design_study(NAMES)
    place = design.groupby("assessor").cumcount()[design.verification.notna()]
    assert place.mean() / (len(design) / 1400 - 1) == pytest.approx(0.5, abs=0.03)


def test_seed_decides_design_and_votes():
    designs = [design_study(NAMES[:3], assessors=50, seed=s) for s in (0, 0, 1)]
    assert designs[0].equals(designs[1]) and not designs[0].equals(designs[2])
    votes = [simulate_votes(designs[0], latent_utilities(0), seed=s) for s in (0, 0, 1)]
    assert votes[0].equals(votes[1]) and not votes[0].equals(votes[2])


@pytest.mark.parametrize("votes_per_pair", [0, 51])
def test_nobody_sees_a_pair_twice(votes_per_pair):
    with pytest.raises(ValueError, match="from 1 to 50: nobody sees a pair twice"):
        design_study(["x"], votes_per_pair=votes_per_pair, assessors=50)


def test_simulated_people_choose_as_the_model_says():
    design = design_study(["x"], ["a", "b"], 20000, 20000, questions=0)
    utilities = pd.DataFrame([[1.0, 0.0]], ["x"], ["a", "b"])
    share = 0.7311  # 1 / (1 + 1/e)
    for inattentive, expected in [(0, share), (1, 0.5), (0.5, (share + 0.5) / 2)]:
        counts = count_votes(simulate_votes(design, utilities, inattentive), ["a", "b"])
        assert counts.loc["a", "b"] / 20000 == pytest.approx(expected, abs=0.011)  # 3 errors


def test_utilities_that_do_not_fit_the_design_are_an_error():
    design, utilities = design_study(NAMES[:2], assessors=20), latent_utilities(0)
    for broken in (utilities.loc[["photo0"]], utilities.drop(columns=REFERENCE)):
        with pytest.raises(ValueError, match="has no utility"):
            simulate_votes(design, broken)
    with pytest.raises(ValueError, match="inattentive is a share"):
        simulate_votes(design, utilities, inattentive=10)


def test_filter_and_counts_by_hand():
    votes = make_votes(
        [
            ("ann", "a", "b", "left", None),
            ("ann", "b", "a", "left", None),
            ("ann", "ref", "a", "left", "left"),
            ("cat", "b", "c", "right", None),
            ("cat", "a", "b", "left", None),
            ("bob", "a", "b", "right", None),
            ("bob", "a", "ref", "left", "right"),
            ("bob", "ref", "a", "left", "left"),
        ]
    )
    kept = keep_attentive(votes)
    assert set(kept.assessor) == {"ann", "cat"}
    expected = pd.DataFrame([[0, 2, 0], [1, 0, 0], [0, 1, 0]], list("abc"), list("abc"))
    pd.testing.assert_frame_equal(count_votes(kept, list("abc")), expected)
    with pytest.raises(ValueError, match="no assessor passes"):
        keep_attentive(votes[votes.assessor == "bob"])
    for wrong, stimuli in ((votes, "ab"), (votes.assign(sequence=range(8)), "abc")):
        with pytest.raises(ValueError, match="on one sequence, and on these stimuli"):
            count_votes(wrong, list(stimuli))


def test_errors_name_the_sequence():
    votes = make_votes([("ann", "a", "b", c, None) for c in ("left", "right")])
    both = pd.concat([votes, votes.assign(sequence="y", choice="left")])
    with pytest.raises(ValueError, match=r"^y: a never lost"):
        score_study(both, ["a", "b"])
    assert len(score_study(both, ["a", "b"], alpha=0.1)) == 4


def test_the_filter_keeps_who_looks_and_a_quarter_of_who_tosses_a_coin():
    design, utilities = design_study(NAMES), latent_utilities(0)
    kept = [
        keep_attentive(simulate_votes(design, utilities, share)).assessor.nunique() / 1400
        for share in (0, 1)
    ]
    assert kept[0] > 0.995 and kept[1] == pytest.approx(0.25, abs=0.035)


# --- recovery of known utilities --------------------------------------------------------------


def test_a_study_recovers_utilities_and_inattention_shrinks_them():
    utilities = latent_utilities(0)
    votes, slopes = simulate_votes(design_study(NAMES), utilities, 0.1), {}
    truth = utilities[TEST_CASES].sub(utilities[TEST_CASES].mean(axis=1), axis=0)
    for name, block in [("all", votes), ("kept", keep_attentive(votes))]:
        scored = score_study(block)
        wide = scored.pivot(index="sequence", columns="test_case", values="subjective_score")
        wide = wide.loc[truth.index, truth.columns]
        slopes[name] = (truth * wide.sub(wide.mean(axis=1), axis=0)).sum().sum() / (
            truth**2
        ).sum().sum()
    correlations = [plcc(*pair) for pair in zip(truth.to_numpy(), wide.to_numpy(), strict=True)]
    assert np.mean(correlations) > 0.975 and min(correlations) > 0.93
    assert slopes["kept"] == pytest.approx(1, abs=0.07) and slopes["all"] < 0.85


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = []
    for seed in range(2):
        utilities = latent_utilities(seed)
        scored = score_study(simulate_votes(design_study(NAMES, seed=seed), utilities, 0, seed))
        for sequence, block in scored.groupby("sequence"):
            truth = utilities.loc[sequence, TEST_CASES].to_numpy()
            worst = block.subjective_score.to_numpy().argmin()
            truth = truth - truth[worst]
            covered += np.delete((block.low <= truth) & (truth <= block.high), worst).tolist()
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
