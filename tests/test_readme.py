"""The README's numbers are those of the committed tables and cards."""

import re

import pandas as pd
import pytest

from lib.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
OPEN = ROOT / "figures" / "open"


def rows_of(first_title):
    """The cells of the README's table whose first column has this title."""
    lines = README[README.index(f"| {first_title} |") :].splitlines()
    table = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
    return table[0], table[2:end]


def results():
    table = pd.read_csv(OPEN / "table1.csv")
    stage = table.stage.map(lambda s: "" if s == "as extracted" else ", transformed")
    return table.set_index(["method", table.metric + stage]).value.map("{:.3f}".format)


def areas():
    table = pd.read_csv(OPEN / "figure2_areas.csv").query("measure == 'SROCC'")
    column = table.model.str.removeprefix("baseline-") + ", " + table.fill
    return table.set_index(["map", column]).value.map("{:+.3f}".format)


def dual_task():
    of = {"held-out photographs": ", held out", "photographs of another kind": ", other source"}
    kept = pd.read_csv(OPEN / "table2.csv").query("not stage.str.startswith('after')")
    column = kept.metric + kept.stage.map(of).fillna("")
    return kept.set_index(["method", column]).value.map("{:.3f}".format)


def codec():
    dB = pd.read_csv(OPEN / "sacid_gains.csv").query("bpp == 0.12")
    dB["region"] = dB.region.replace("inside", "salient quarter")
    found = dB.set_index(["preset", "region"]).gain.map("{:+.2f}".format).to_dict()
    people = pd.read_csv(OPEN / "sacid_published_tests.csv").query("bitrate == 'all bitrates'")
    for said in people.itertuples():
        found[said.preset, "photographs where people prefer it"] = f"{said.wins} of {said.n}"
        spread = f"[{said.low:+.2f}, {said.high:+.2f}]"
        found[said.preset, "gain in score"] = f"{said.mean_difference:+.2f} {spread}"
    encodes = pd.read_csv(OPEN / "sacid_encodes.csv")
    assert len(encodes) == 600 and encodes.reachable.all()
    assert f"{encodes.encodes.mean():.2f} encodes each" in README
    return found


def bounds():
    table = pd.read_csv(ROOT / "figures" / "sample" / "sacid_bounds.csv")
    found = {
        (row.method, row.metric): f"{row.value:.3f}"
        + (f" [{row.low:.3f}, {row.high:.3f}]" if row.low < row.high else "")
        for row in table.itertuples()
    }
    paper = pd.read_csv(ROOT / "lib" / "paper" / "table3.csv").set_index("method")
    dummy = table[table.method == "Target bitrate"].set_index("metric").value
    assert [(paper[m] > dummy[m]).sum() for m in ("SROCC", "PLCC")] == [1, 2]
    paper = paper.rename(index="{} (paper)".format, columns={"KRCC_dagger": "KRCC†"})
    columns = paper.select_dtypes("number").items()
    return found | {(n, m): f"{v:.3f}" for m, column in columns for n, v in column.items()}


@pytest.mark.parametrize(
    ("first_title", "rows", "committed"),
    [
        ("map", 7, results),
        ("pixels ordered by", 5, areas),
        ("network", 6, dual_task),
        ("preset", 3, codec),
        ("dummy or metric", 6, bounds),
    ],
)
def test_every_cell_of_a_table_is_that_of_the_committed_one(first_title, rows, committed):
    (_, *titles), found = rows_of(first_title)
    known = committed()
    assert len(found) == rows and len(titles) >= 3
    for name, *cells in found:
        assert any(cells) and cells == [known.get((name, title), "") for title in titles], name


def test_models_are_those_of_the_cards():
    _, rows = rows_of("model")
    for name, _, measured in rows:
        name = name.split("`")[1]
        card = (ROOT / "weights" / f"{name}.md").read_text(encoding="utf-8")
        numbers = re.findall(r"\d\.\d{2,3}", measured)
        assert len(numbers) >= 2
        for number in numbers:
            assert re.search(rf"\| {re.escape(number)}\d? \[", card), (name, number)


def test_every_file_it_links_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(links) > 5
    for link in links:
        assert (ROOT / link).exists(), link
