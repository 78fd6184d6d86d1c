"""Votes give back the utilities behind them, or an error."""

from itertools import combinations

import choix
import numpy as np
import pandas as pd
import pytest

from lib import subjective
from lib.codec import TEST_CASES
from lib.data.sacid import read_scores
from lib.stats import plcc
from lib.subjective import REFERENCE, count_votes, design_study, fit_scores, score_study

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


def test_bradley_terry_of_two_by_hand():
    # 3 of 4 votes: the difference is ln 3; its information n p q = 4 * 3/4 * 1/4
    table = fit_scores(pd.DataFrame([[0, 3], [1, 0]]))
    assert table.subjective_score.tolist() == pytest.approx([np.log(3), 0])
    assert table.standard_error.tolist() == pytest.approx([np.sqrt(4 / 3), 0])
    assert table.high[0] - np.log(3) == pytest.approx(1.96 * np.sqrt(4 / 3), rel=1e-4)


@pytest.mark.parametrize("seed", range(2))
def test_scores_agree_with_a_direct_search(seed):
    counts = random_counts(seed)
    votes = [(i, j) for i in range(12) for j in range(12) for _ in range(int(counts.loc[i, j]))]
    peer = choix.opt_pairwise(12, votes, alpha=0, tol=1e-8)
    ours = fit_scores(counts)
    np.testing.assert_allclose(ours.subjective_score, peer - peer.min(), atol=1e-4)
    pd.testing.assert_frame_equal(fit_scores(counts, 0.5), ours)  # alpha leaves it alone


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
    with pytest.raises(ValueError, match="from 1 to 77: nobody sees a pair twice"):
        design_study(["x"], **sizes | {"votes_per_pair": 78})


def test_simulated_people_choose_as_the_model_says():
    design = design_study(["x"], ["a", "b"], 20000, 20000, questions=0)
    utilities = pd.DataFrame([[1.0, 0.0]], ["x"], ["a", "b"])
    share = 0.7311  # 1 / (1 + 1/e)
    for inattentive, expected in [(0, share), (1, 0.5), (0.5, (share + 0.5) / 2)]:
        counts = count_votes(subjective.simulate_votes(design, utilities, inattentive), ["a", "b"])
        assert counts.loc["a", "b"] / 20000 == pytest.approx(expected, abs=0.011)  # 3 errors


def test_utilities_that_do_not_fit_the_design_are_an_error():
    design, utilities = design_study(NAMES[:2], assessors=20), latent_utilities(0)
    for name, broken in (("photo1", utilities[:1]), (REFERENCE, utilities[TEST_CASES])):
        with pytest.raises(KeyError, match=name):
            subjective.simulate_votes(design, broken)
    with pytest.raises(ValueError, match="inattentive is a share"):
        subjective.simulate_votes(design, utilities, inattentive=10)


def test_filter_and_counts_by_hand_and_errors_name_the_sequence():
    columns = ["assessor", "left", "right", "choice", "verification"]
    rows = ["ann a b left -", "ann b a left -", "ann ref a left left", "cat b c right -"]
    rows += ["cat a b left -", "bob a b right -", "bob a ref left right", "bob ref a left left"]
    votes = pd.DataFrame([row.split() for row in rows], columns=columns)
    votes = votes.replace("-", None).assign(sequence="x")
    kept = subjective.keep_attentive(votes)
    assert set(kept.assessor) == {"ann", "cat"}
    assert count_votes(kept, list("abc")).to_numpy().tolist() == [[0, 2, 0], [1, 0, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="no assessor passes"):
        subjective.keep_attentive(votes[votes.assessor == "bob"])
    with pytest.raises(KeyError, match="c"):
        count_votes(votes, list("ab"))
    with pytest.raises(ValueError, match=r"on one sequence, not on \[0, 1"):
        count_votes(votes.assign(sequence=range(8)), list("abc"))
    both = pd.concat([votes[:2], votes[:1].assign(sequence="y")])
    with pytest.raises(ValueError, match=r"^y: a never lost"):
        score_study(both, ["a", "b"])
    assert len(score_study(both, ["a", "b"], alpha=0.1)) == 4


def test_a_study_recovers_utilities_and_inattention_shrinks_them():
    utilities, slopes = latent_utilities(0), []
    truth = utilities[TEST_CASES].sub(utilities[TEST_CASES].mean(axis=1), axis=0)
    votes = subjective.simulate_votes(design_study(NAMES), utilities, 0.1)
    for used in (votes, subjective.keep_attentive(votes)):
        scores = score_study(used).set_index(["sequence", "test_case"]).subjective_score
        found = scores.unstack().loc[truth.index, TEST_CASES]
        found = found.sub(found.mean(axis=1), axis=0)
        slopes.append(np.polyfit(truth.to_numpy().ravel(), found.to_numpy().ravel(), 1)[0])
    correlations = [plcc(*pair) for pair in zip(truth.to_numpy(), found.to_numpy(), strict=True)]
    assert np.mean(correlations) > 0.975 and min(correlations) > 0.93
    assert slopes[1] == pytest.approx(1, abs=0.07) and slopes[0] < 0.85


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = []
    for seed in range(2):
        utilities = latent_utilities(seed)
        scored = score_study(
            subjective.simulate_votes(design_study(NAMES, seed=seed), utilities, 0, seed)
        )
        for sequence, block in scored.groupby("sequence"):
            truth = utilities.loc[sequence, TEST_CASES].to_numpy()
            worst = block.subjective_score.to_numpy().argmin()
            truth = truth - truth[worst]
            covered += np.delete((block.low <= truth) & (truth <= block.high), worst).tolist()
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
