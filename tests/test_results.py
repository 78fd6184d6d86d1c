"""RESULTS.md holds what the committed tables say, and every number of the paper with a verdict."""

import re
from shutil import copytree, ignore_patterns

import pandas as pd
import pytest

from benchmarks import results
from benchmarks.verdicts import TABLES, VERDICTS, Tables, compared, compared_on_sacid, verdict
from lib.paths import ROOT

PAGE = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
MADE = results.render(READ := Tables())


def test_the_committed_page_is_what_the_tables_make_now():
    assert MADE == PAGE, "make results"


@pytest.mark.parametrize("name", TABLES)
def test_one_changed_value_changes_the_page_and_a_lost_table_is_named(tmp_path, name):
    for made_of in ("figures", "lib/paper"):
        copytree(ROOT / made_of, tmp_path / made_of, ignore=ignore_patterns("*.png", "*.pdf"))
    path, (row, column) = tmp_path / TABLES[name][0], READ.used[name]
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[row, column] = str(float(table.loc[row, column]) - 1000)
    table.to_csv(path, index=False)
    assert results.render(Tables(tmp_path)) != PAGE
    table.drop(columns=column).to_csv(path, index=False)
    with pytest.raises(ValueError, match=f"{TABLES[name][0]} has no column '{column}'"):
        results.render(Tables(tmp_path))
    path.unlink()
    with pytest.raises(ValueError, match=f"{TABLES[name][0]} is not there"):
        results.render(Tables(tmp_path))


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
