"""The README's numbers are those of the committed tables and cards."""

import re

import pandas as pd

from lib.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows_of(first_title):
    """The cells of the README's table whose first column has this title."""
    lines = README[README.index(f"| {first_title} |") :].splitlines()
    table = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
    return table[0], table[2:end]


def test_results_are_those_of_the_committed_table():
    table = pd.read_csv(ROOT / "figures" / "open" / "table1.csv")
    table["stage"] = table.stage.map(lambda s: "" if s == "as extracted" else ", transformed")
    values = table.set_index(["method", table.metric + table.stage]).value
    titles, rows = rows_of("map")
    assert len(rows) == 7
    for method, *cells in rows:
        assert cells == [f"{values[method, t]:.3f}" for t in titles[1:]], method


def test_areas_are_those_of_the_committed_table():
    table = pd.read_csv(ROOT / "figures" / "open" / "figure2_areas.csv")
    table = table[table.measure == "SROCC"].assign(model=table.model.str.removeprefix("baseline-"))
    values = table.set_index(["map", table.model + ", " + table.fill]).value
    titles, rows = rows_of("pixels ordered by")
    assert len(rows) == 5 and len(titles) == 7
    for name, *cells in rows:
        assert cells == [f"{values[name, t]:+.3f}" for t in titles[1:]], name


def test_dual_task_results_are_those_of_the_committed_table():
    table = pd.read_csv(ROOT / "figures" / "open" / "table2.csv")
    of = {"held-out photographs": ", held out", "photographs of another kind": ", other source"}
    kept = table[~table.stage.str.startswith("after")]
    columns = kept.metric + kept.stage.map(of).fillna("")
    values = kept.set_index(["method", columns]).value
    titles, rows = rows_of("network")
    assert len(rows) == 6
    for name, *cells in rows:
        for title, cell in zip(titles[1:], cells, strict=True):
            known = (name, title) in values.index
            assert cell == (f"{values[name, title]:.3f}" if known else ""), (name, title)


def test_codec_results_are_those_of_the_committed_tables():
    folder = ROOT / "figures" / "open"
    dB = pd.read_csv(folder / "sacid_gains.csv").query("bpp == 0.12")
    dB = dB.set_index(["preset", "region"]).gain
    people = pd.read_csv(folder / "sacid_published_tests.csv").query("bitrate == 'all bitrates'")
    people = people.set_index("preset")
    _, rows = rows_of("preset")
    assert len(rows) == 3
    for preset, *cells in rows:
        gains = [f"{dB[preset, r]:+.2f}" for r in ("inside", "outside", "whole")]
        said = people.loc[preset]
        assert cells == [
            *gains,
            f"{said.wins} of {said.n}",
            f"{said.mean_difference:+.2f} [{said.low:+.2f}, {said.high:+.2f}]",
        ], preset
    encodes = pd.read_csv(folder / "sacid_encodes.csv")
    assert f"{encodes.encodes.mean():.2f} encodes each" in README
    assert len(encodes) == 600 and encodes.reachable.all()


def test_bounds_are_those_of_the_committed_table_and_the_papers():
    table = pd.read_csv(ROOT / "figures" / "sample" / "sacid_bounds.csv")
    bounds = table.set_index(["method", "metric"])
    paper = pd.read_csv(ROOT / "lib" / "paper" / "table3.csv").set_index("method")
    titles, rows = rows_of("dummy or metric")
    assert len(rows) == 6
    for name, *cells in rows:
        if name.endswith("(paper)"):
            values = paper.loc[name.removesuffix(" (paper)")]
            columns = ("SROCC", "PLCC", "KRCC_dagger")
            assert cells == [f"{values[c]:.3f}" for c in columns], name
            continue
        for title, cell in zip(titles[1:], cells, strict=True):
            row = bounds.loc[name, title]
            spread = f" [{row.low:.3f}, {row.high:.3f}]" if row.low < row.high else ""
            assert cell == f"{row.value:.3f}{spread}", (name, title)
    dummy = bounds.value["Target bitrate"]
    assert (dummy["SROCC"] < paper.SROCC).sum() == 1 and (dummy["PLCC"] < paper.PLCC).sum() == 2


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
