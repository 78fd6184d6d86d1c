"""Which picture looks better: pairwise studies, and the scores that they give (III-D).

People see two stimuli of a sequence side by side and choose one. The Bradley-Terry model gives
each stimulus i a utility u_i, with

    P(i is chosen over j) = s(u_i - u_j),   s(d) = 1 / (1 + exp(-d)).

With w_ij votes for i over j, the log-likelihood sum_ij w_ij log s(u_i - u_j) is concave, and the
counts w are all that it needs of the votes. Only differences count; SACID publishes scores anchored
at 0 for the worst stimulus of each sequence, so scores of two sequences do not compare.

R. Bradley, M. Terry, "Rank analysis of incomplete block designs", Biometrika, 1952. L. Ford,
"Solution of a ranking problem from binary comparisons", American Mathematical Monthly, 1957.
"""

from collections.abc import Sequence
from itertools import combinations

import choix
import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from lib.codec import TEST_CASES

REFERENCE = "reference"  # the uncompressed picture: only in verification questions
OBVIOUS = (REFERENCE, TEST_CASES[0])  # better and worse: nobody who looks takes the second


def design_study(
    sequences: Sequence[str],
    stimuli: Sequence[str] = TEST_CASES,
    votes_per_pair: int = 10,
    assessors: int = 1400,
    questions: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """Deal every pair of stimuli of each sequence to assessors, with verification questions.

    Each pair is shown `votes_per_pair` times, either way round equally often (to within one).
    Assessors get equally many questions, to within one, in random order, and never one pair of a
    sequence twice. Each gets `questions` more about the `OBVIOUS` pair of random sequences.

    Returns
    -------
    DataFrame
        One row a question, in the order shown: assessor (int), sequence, left, right, and
        verification: the obviously better side, missing in ordinary questions.
    """
    if not 1 <= votes_per_pair <= assessors or questions < 0:
        raise ValueError(
            "votes_per_pair must be from 1 to the number of assessors (nobody sees a pair twice), "
            f"and questions 0 or more, not {votes_per_pair}, {assessors} and {questions}"
        )
    sequences, stimuli, rng = pd.Index(sequences), pd.Index(stimuli), np.random.default_rng(seed)
    within = np.array(list(combinations(range(len(stimuli)), 2)))  # 66 x 2 for 12 stimuli
    # A shuffled round of all pairs is repeated, and cut into blocks no longer than a round: the
    # same pair comes back only after a whole round, so never within a block.
    deck = rng.permutation(len(sequences) * len(within))
    turn, place = np.divmod(np.arange(len(deck) * votes_per_pair), len(deck))
    sequence, pair = np.divmod(deck[place], len(within))
    first, second = within[pair].T
    swap = (first + second + turn) % 2 == 0
    ordinary = {
        "assessor": np.arange(len(turn)) * assessors // len(turn),
        "sequence": sequences[sequence],
        "left": stimuli[np.where(swap, second, first)],
        "right": stimuli[np.where(swap, first, second)],
    }
    asked, (better, worse) = np.repeat(np.arange(assessors), questions), OBVIOUS
    better_left = rng.random(len(asked)) < 0.5
    verification = {
        "assessor": asked,
        "sequence": sequences[rng.integers(len(sequences), size=len(asked))],
        "left": np.where(better_left, better, worse),
        "right": np.where(better_left, worse, better),
        "verification": np.where(better_left, "left", "right"),
    }
    design = pd.concat([pd.DataFrame(ordinary), pd.DataFrame(verification)])
    order = np.lexsort([rng.random(len(design)), design.assessor])
    return design.iloc[order].reset_index(drop=True)


def simulate_votes(
    design: pd.DataFrame, utilities: pd.DataFrame, inattentive: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """Let a simulated crowd answer a design: its rows with a `choice`, "left" or "right".

    Attentive assessors choose with Bradley-Terry's probabilities of `utilities` (sequences x
    stimuli). A share `inattentive` of the assessors, rounded to whole people, tosses a coin at
    every question. Answers are independent: real people's are not.
    """
    if not 0 <= inattentive <= 1:
        raise ValueError(f"inattentive is a share, 0 to 1, not {inattentive}")
    row = utilities.index.get_indexer(design.sequence)
    sides = [utilities.columns.get_indexer(design[side]) for side in ("left", "right")]
    if min(row.min(), *(side.min() for side in sides)) < 0:
        raise ValueError("a sequence or stimulus of the design has no utility")
    left, right = (utilities.to_numpy(np.float64)[row, side] for side in sides)
    rng = np.random.default_rng(seed)
    person, people = pd.factorize(design.assessor)
    coin = rng.permutation(len(people)) < round(inattentive * len(people))
    probability = np.where(coin[person], 0.5, expit(left - right))
    votes = design.copy()
    votes.insert(4, "choice", np.where(rng.random(len(votes)) < probability, "left", "right"))
    return votes


def keep_attentive(votes: pd.DataFrame) -> pd.DataFrame:
    """Drop all votes of assessors who got a verification question wrong.

    One in 2^q of those who toss a coin still passes q questions.
    """
    wrong = votes.verification.notna() & (votes.choice != votes.verification)
    kept = votes[~votes.assessor.isin(votes.assessor[wrong])]
    if kept.empty:
        raise ValueError("no assessor passes the verification questions")
    return kept


def count_votes(votes: pd.DataFrame, stimuli: Sequence[str] = TEST_CASES) -> pd.DataFrame:
    """Count votes on one sequence: stimuli x stimuli, the row over the column.

    Verification questions are left out.
    """
    votes = votes[votes.verification.isna()]
    if len(votes.sequence.unique()) > 1:
        raise ValueError("scores of two sequences do not compare: give votes on one sequence")
    left_won = votes.choice == "left"
    winner = votes.left.where(left_won, votes.right)
    loser = votes.right.where(left_won, votes.left)
    counts = pd.crosstab(winner, loser).reindex(index=stimuli, columns=stimuli, fill_value=0)
    if counts.to_numpy().sum() != len(votes):
        raise ValueError("votes name a stimulus that is not among the stimuli")
    return counts.rename_axis(index=None, columns=None)


def fit_scores(counts: pd.DataFrame, alpha: float = 0.0) -> pd.DataFrame:
    """Fit Bradley-Terry's utilities to counts of votes by maximum likelihood.

    Parameters
    ----------
    counts : DataFrame (n, n)
        Votes for the row over the column (`count_votes`).
    alpha : float
        Made-up votes, so many for each stimulus over each other one: with some, the scores are
        finite for any votes.

    Returns
    -------
    DataFrame
        subjective_score, standard_error, low and high (95 %), all as differences from the worst
        stimulus, which has none. Which one is the worst is taken as given; where the last two are
        close that was partly chance, and scores are a bit too high.
    """
    wins = counts.to_numpy(np.float64)
    if not (np.isfinite(wins) & (wins >= 0)).all() or np.diag(wins).any():
        raise ValueError("counts must be finite and non-negative, with 0 on the diagonal")
    if not alpha and connected_components(wins > 0, connection="strong")[0] > 1:
        never = counts.index[[not wins[:, k].any() for k in range(len(wins))]].tolist()
        raise ValueError(
            f"some stimuli never lost ({never or 'a group of them'}) or were never compared, so no "
            "finite scores fit best (Ford, 1957): collect more votes, or give alpha=0.1"
        )
    utility = choix.ilsr_pairwise_dense(wins, alpha=alpha, max_iter=1000, tol=1e-12)
    # Inverse of the information matrix; no vote tells utilities from utilities plus a constant.
    chance = expit(utility[:, None] - utility)
    weight = (wins + wins.T + 2 * alpha) * chance * (1 - chance)
    np.fill_diagonal(weight, 0.0)
    covariance = np.linalg.pinv(np.diag(weight.sum(axis=1)) - weight)
    worst, variance = utility.argmin(), np.diag(covariance)
    variance = variance + variance[worst] - 2 * covariance[worst]
    variance[worst] = 0.0  # exactly
    score, error = utility - utility[worst], np.sqrt(variance)
    table = {"subjective_score": score, "standard_error": error}
    table |= {"low": score - 1.959964 * error, "high": score + 1.959964 * error}
    return pd.DataFrame(table, counts.index)


def score_study(votes: pd.DataFrame, alpha: float = 0.0) -> pd.DataFrame:
    """Score every sequence of SACID's layout: sequence, test_case, then as `fit_scores`."""
    tables = {}
    for sequence, block in votes.groupby("sequence"):
        try:
            tables[sequence] = fit_scores(count_votes(block), alpha)
        except ValueError as error:
            raise ValueError(f"{sequence}: {error}") from error
    return pd.concat(tables, names=["sequence", "test_case"]).reset_index()
