"""Which picture looks better: pairwise studies, and the scores that they give (Section III-D).

People see two stimuli of a sequence side by side and choose one. Bradley and Terry (Biometrika,
1952) give each stimulus i a utility u_i, with P(i over j) = s(u_i - u_j), s(d) = 1 / (1 + e^-d).
With w_ij votes for i over j, the log-likelihood sum_ij w_ij log s(u_i - u_j) is concave. Scores are
anchored at 0 for the worst stimulus of each sequence, as SACID's are: they don't compare across.
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


def design_study(
    sequences: Sequence[str],
    stimuli: Sequence[str] = TEST_CASES,
    votes_per_pair: int = 10,
    assessors: int = 1400,
    questions: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """Deal every pair of stimuli of each sequence to assessors, with verification questions.

    Each pair is shown `votes_per_pair` times, either way round equally often. Assessors get equally
    many questions, to within one, in random order, never one pair of a sequence twice, and as many
    `questions` with an obvious answer: `REFERENCE` against the first stimulus. A row a question:
    assessor (int), sequence, left, right, verification (the better side; else missing).
    """
    if not 1 <= votes_per_pair <= assessors:
        raise ValueError(f"votes_per_pair must be from 1 to {assessors}: nobody sees a pair twice")
    sequences, stimuli = np.array(sequences, object), np.array([*stimuli, REFERENCE], object)
    rng, pairs = np.random.default_rng(seed), np.array([*combinations(range(len(stimuli) - 1), 2)])
    # A shuffled round of all pairs is repeated, and cut into blocks no longer than a round: the
    # same pair comes back only after a whole round, so never within a block.
    deck = rng.permutation(len(sequences) * len(pairs))
    turn, place = np.divmod(np.arange(len(deck) * votes_per_pair), len(deck))
    shown, pair = np.divmod(deck[place], len(pairs))
    left, right = np.where((pairs[pair].sum(axis=1) + turn) % 2, pairs[pair].T, pairs[pair].T[::-1])
    ordinary = [np.arange(len(turn)) * assessors // len(turn), shown, left, right]
    asked = np.repeat(np.arange(assessors), questions)
    better_left = rng.random(len(asked)) < 0.5
    sides = [np.where(side, len(stimuli) - 1, 0) for side in (better_left, ~better_left)]
    verification = [asked, rng.integers(len(sequences), size=len(asked)), *sides]
    person, shown, left, right = np.hstack([ordinary, verification])
    design = pd.DataFrame({"assessor": person, "sequence": sequences[shown]})
    design["left"], design["right"] = stimuli[left], stimuli[right]
    design["verification"] = [None] * len(turn) + [*np.where(better_left, "left", "right")]
    return design.iloc[np.lexsort([rng.random(len(design)), person])].reset_index(drop=True)


def simulate_votes(
    design: pd.DataFrame, utilities: pd.DataFrame, inattentive: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """Let a simulated crowd answer a design; adds the column choice, "left" or "right".

    People choose as Bradley and Terry's model says of `utilities` (sequences x stimuli, `REFERENCE`
    included); a share `inattentive` of them, rounded to whole people, tosses a coin every time.
    """
    if not 0 <= inattentive <= 1:
        raise ValueError(f"inattentive is a share, 0 to 1, not {inattentive}")
    rng, sides = np.random.default_rng(seed), (design.left, design.right)
    row = design.sequence.map(utilities.index.get_loc)  # KeyError for one without utilities
    columns = (side.map(utilities.columns.get_loc) for side in sides)
    left, right = (utilities.to_numpy()[row, column] for column in columns)
    person, people = pd.factorize(design.assessor)
    coin = rng.permutation(len(people)) < round(inattentive * len(people))
    probability = np.where(coin[person], 0.5, expit(left - right))
    return design.assign(choice=np.where(rng.random(len(design)) < probability, "left", "right"))


def keep_attentive(votes: pd.DataFrame) -> pd.DataFrame:
    """Drop all votes of whoever errs in a verification question (1 in 2^q coins passes q)."""
    wrong = votes.verification.notna() & (votes.choice != votes.verification)
    kept = votes[~votes.assessor.isin(votes.assessor[wrong])]
    if kept.empty:
        raise ValueError("no assessor passes the verification questions")
    return kept


def count_votes(votes: pd.DataFrame, stimuli: Sequence[str] = TEST_CASES) -> pd.DataFrame:
    """Count the ordinary votes on one sequence: stimuli x stimuli, the row over the column."""
    votes, stimuli = votes[votes.verification.isna()], pd.Index(stimuli)
    if len(set(votes.sequence)) > 1:
        raise ValueError(f"votes must be on one sequence, not on {sorted(set(votes.sequence))}")
    left, right = (votes[side].map(stimuli.get_loc).to_numpy(int) for side in ("left", "right"))
    wins, chosen = np.zeros((len(stimuli), len(stimuli)), int), votes.choice == "left"
    np.add.at(wins, (np.where(chosen, left, right), np.where(chosen, right, left)), 1)
    return pd.DataFrame(wins, stimuli, stimuli)


def fit_scores(counts: pd.DataFrame, alpha: float = 0.0) -> pd.DataFrame:
    """Fit Bradley and Terry's utilities to counts of votes by maximum likelihood (choix).

    Returns a row a stimulus: subjective_score (0 for the worst), standard_error, low, high (95 %),
    which are of the difference from the worst, taken as given. Finite scores fit best if and only
    if a chain of wins leads from every stimulus to every other one (L. Ford, 1957). Where none
    does, `alpha` made-up votes for each over each other are added; with 0 it is a ValueError.
    """
    wins, n = counts.to_numpy(np.float64), len(counts)
    chains, chain = connected_components(wins > 0, connection="strong")
    if chains > 1 and not alpha:
        top = next(k for k in range(chains) if not wins[chain != k][:, chain == k].any())
        why = "never lost to some of the others, so no finite scores fit best (Ford, 1957)"
        mend = "collect more votes, or give alpha, e.g. 0.1"
        raise ValueError(f"{counts.index[chain == top][0]} {why}: {mend}")
    wins = wins + alpha * (chains > 1) * (1 - np.eye(n))
    utility = choix.ilsr_pairwise_dense(wins, max_iter=10_000, tol=1e-12)
    utility = utility.round(9)  # so that of equals the first is the worst, on any machine
    p, worst = expit(utility[:, None] - utility), utility.argmin()
    weight = (wins + wins.T) * p * p.T  # votes of a pair, times the variance of one of them
    information = np.diag(weight.sum(axis=1)) - weight
    free, error = np.arange(n) != worst, np.zeros(n)
    error[free] = np.sqrt(np.diag(np.linalg.inv(information[free][:, free])))
    table = pd.DataFrame({"subjective_score": utility - utility[worst]}, counts.index)
    table["standard_error"], reach = error, 1.959964 * error
    return table.assign(low=table.subjective_score - reach, high=table.subjective_score + reach)


def score_study(
    votes: pd.DataFrame, stimuli: Sequence[str] = TEST_CASES, alpha: float = 0.0
) -> pd.DataFrame:
    """Score every sequence: sequence, test_case, subjective_score, standard_error, low, high."""
    tables = {}
    for sequence, block in votes.groupby("sequence"):
        try:
            tables[sequence] = fit_scores(count_votes(block, stimuli), alpha)
        except ValueError as error:
            raise ValueError(f"{sequence}: {error}") from error
    return pd.concat(tables, names=["sequence", "test_case"]).reset_index()
