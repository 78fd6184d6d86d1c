"""RESULTS.md holds what the committed tables say, and every number of the paper with a verdict."""

import re

import pandas as pd
import pytest

from benchmarks import results
from benchmarks.verdicts import TABLES, VERDICTS, Tables, compared, compared_on_sacid, verdict
from lib.paths import ROOT

PAGE = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
MADE = results.render(READ := Tables())


@pytest.fixture
def checkout(tmp_path):
    """A copy of all that the page is made of."""
    parameters = [f"figures/{profile}/provenance.json" for profile in ("open", "sample")]
    for file in [*parameters, *(file for file, _ in TABLES.values())]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    return tmp_path


def test_the_committed_page_is_what_the_tables_make_now():
    assert MADE == PAGE, "make results"


@pytest.mark.parametrize("name", TABLES)
def test_one_changed_value_changes_the_page_and_a_lost_table_is_named(checkout, name):
    path, (row, column) = checkout / TABLES[name][0], READ.used[name]
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[row, column] = str(float(table.loc[row, column]) - 1000)
    table.to_csv(path, index=False)
    assert results.render(Tables(checkout)) != PAGE
    for left, message in (
        (table.drop(columns=column), f"no column '{column}'"),
        (None, "not there"),
    ):
        path.unlink() if left is None else left.to_csv(path, index=False)
        with pytest.raises(ValueError, match=f"{TABLES[name][0]} .*{message}"):
            results.render(Tables(checkout))


def test_all_numbers_of_the_paper_have_a_verdict_of_the_rule():
    numbers = [compared(READ, 1), compared(READ, 2), compared_on_sacid(READ)]
    for number, found in enumerate(numbers, 1):
        text = (ROOT / "lib" / "paper" / f"table{number}.csv").read_text(encoding="utf-8")
        printed = [float(cell) for cell in re.findall(r"(?<=,)\d\.\d+", text)]
        assert list(found.paper.astype(float)) == printed
        assert {*found.verdict} <= {*VERDICTS}
        assert results.grid(found.to_dict("records")) in PAGE
    assert [len(found) for found in numbers] == [32, 60, 75], "as printed; the 12 dashes apart"


def test_the_rule():
    for low, high, word in ((1, 2, "agree"), (-2, -1, "differ"), (-1, 1, "cannot tell")):
        ours = pd.Series({"difference_low": low, "difference_high": high})
        assert verdict(0.6, 0.5, ours, "").split(":")[0] == word
