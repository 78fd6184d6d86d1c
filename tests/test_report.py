"""Tables and figures: tidy, beside the paper, the same bytes every time."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib import plots, report

TIDY = pd.DataFrame(
    [
        ("Dummy", "CenterPrior", "CC", 0.30, 0.28, 0.32, 0.541),
        ("IQA", "ours", "CC", 0.50, 0.48, 0.52, np.nan),
        ("IQA", "theirs", "CC", 0.40, 0.38, 0.42, 0.637),
        ("Dummy", "CenterPrior", "KLD", 1.30, 1.2, 1.4, 0.784),
        ("IQA", "ours", "KLD", 1.10, 1.0, 1.2, np.nan),
        ("IQA", "theirs", "KLD", 1.00, 0.9, 1.1, 0.700),
    ],
    columns=["group", "method", "metric", "value", "low", "high", "paper"],
)


@pytest.fixture(autouse=True)
def figures(tmp_path, monkeypatch):
    monkeypatch.setenv("FIGURES_DIR", str(tmp_path))
    return tmp_path / "test"


def test_best_second_and_third_are_marked_as_the_paper_does_and_ties_share_a_place():
    wide = report.wide_table(TIDY, ["KLD"]).set_index("method")
    marked = [cell.split()[0] for cell in wide["CC ↑"]["CenterPrior":"theirs"]]
    assert marked == ["*0.300*", "**0.500**", "<u>0.400</u>"]
    assert wide.loc["theirs", "KLD ↓"].startswith("**1.000**")
    assert wide.loc["theirs", "KLD, paper"] == "0.700" and wide.loc["ours", "KLD, paper"] == ""

    values = TIDY[TIDY.metric == "CC"].assign(value=[0.5, 0.5, 0.1])
    cells = list(report.wide_table(values)["CC ↑"])
    assert [c[0] for c in cells] == ["*", "*", "*"] and cells[1].startswith("**")
    assert not cells[2].startswith("**"), "the third is third"
    repeats = TIDY.drop(columns=["low", "high"]).assign(std=0.0123)
    assert "<u>0.400</u> ± 0.012" in report.wide_table(repeats, ["KLD"])["CC ↑"].tolist()


def test_two_files_and_the_same_bytes_again(figures):
    text = report.save_table(TIDY, "t", "test", "A caption.", ["KLD"])
    first = [(figures / name).read_bytes() for name in ("t.csv", "t.md")]
    report.save_table(TIDY, "t", "test", "A caption.", ["KLD"])
    assert [(figures / name).read_bytes() for name in ("t.csv", "t.md")] == first
    assert text in first[1].decode() and first[1].decode().startswith("A caption.")
    pd.testing.assert_frame_equal(pd.read_csv(figures / "t.csv"), TIDY)


def test_the_papers_numbers_stand_beside_ours_by_stage_and_measure():
    printed = pd.DataFrame({"method": ["ours", "theirs"], "SALICON CC": [0.1, 0.2]})
    tidy = TIDY.drop(columns="paper").assign(stage="after")
    found = report.beside_paper(tidy, printed, {("after", "CC"): "SALICON CC"}).paper
    assert found.tolist()[1:3] == [0.1, 0.2] and found.isna().sum() == 4
    assert report.beside_paper(tidy, printed, {("before", "CC"): "SALICON CC"}).paper.isna().all()


def test_a_value_that_is_not_finite_is_refused_by_name(figures):
    bad = TIDY.assign(value=[np.nan, 1, 1, 1, 1, 1])
    with pytest.raises(ValueError, match=r"CenterPrior.*CC"):
        report.save_table(bad, "t", "test", "")
    assert not figures.exists()


def test_equal_figures_are_equal_files(figures):
    written = []
    for _ in range(2):
        figure, axis = plt.subplots()
        axis.plot([0, 1], [1, 0])
        plots.save_figure(figure, "f", "test", "test profile · n = 2", column=2)
        written.append([(figures / f).read_bytes() for f in ("f.png", "f.pdf", "f_column.pdf")])
        plt.close(figure)
    assert written[0] == written[1]
    with Image.open(figures / "f.png") as picture:
        assert picture.text["Description"] == "test profile · n = 2"
        assert picture.text["Source"].startswith(f"commit {report.commit()}; data")


def test_a_schematic_has_its_boxes_and_an_arrow_each():
    plots.draw_flow({"a": (0, 0), "b": (1, 0), "c": (1, 1)}, [("a", "b"), ("b", "c")])
    axis = plt.gcf().axes[0]
    assert {t.get_text() for t in axis.texts} >= {"a", "b", "c"} and len(axis.texts) == 5
    plt.close("all")


def test_provenance_keeps_one_entry_a_result_and_is_begun_anew_where_damaged(figures, capsys):
    names = {"SEED": 0, "maps": 1, "ARRAY": np.ones(2)}
    report.save_provenance("table1", "test", names, {"blobs": "ab"})
    report.save_provenance("table2", "test", {"SEED": 1}, {})
    known = json.loads((figures / "provenance.json").read_text())
    assert set(known) == {"table1", "table2"}
    assert known["table1"]["parameters"] == {"SEED": 0}
    assert known["table1"]["packages"]["torch"].startswith("2.")
    for damage in ("", '{"a": ', "[1, 2]"):
        (figures / "provenance.json").write_text(damage)
        report.save_provenance("t", "test", {}, {})
        assert list(json.loads((figures / "provenance.json").read_text())) == ["t"]
        assert "provenance.json was damaged" in capsys.readouterr().out


def test_the_papers_tables_are_at_hand():
    for name, cell in {"table1": 0.582, "table2": 0.578, "table3": 0.807}.items():
        assert cell in report.paper_table(name).select_dtypes("number").iloc[0].to_numpy()


def test_markdown_keeps_every_digit_and_bounds_tiny_p_values():
    rows = pd.DataFrame(
        {"method": ["a", "b"], "gap": ["-0.040", "+0.570"], "value": [0.5, np.nan]}
        | {"p_value": [0.0, 0.25], "n": [3, 4]}
    )
    lines = report.markdown(rows).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert cells == [["a", "-0.040", "0.500", "< 0.001", "3"], ["b", "+0.570", "", "0.250", "4"]]
