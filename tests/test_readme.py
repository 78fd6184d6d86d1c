"""The front page is short, and its numbers are those of RESULTS.md and of the cards."""

import re

import pytest

from lib.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "RESULTS.md").read_text(encoding="utf-8")


def rows_of(first_title):
    """The cells of the README's table whose first column has this title."""
    table = README[README.index(f"| {first_title} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table][2:]


def test_it_is_under_120_lines_and_its_deciding_numbers_are_those_of_the_results():
    assert len(README.splitlines()) < 120
    rows = rows_of("the paper says")
    assert [f"| {row[1]} | {row[2]} |" in RESULTS for row in rows] == [True] * 4


def test_models_are_those_of_the_cards():
    for name, _, measured in rows_of("model"):
        card = (ROOT / "weights" / f"{name.split('`')[1]}.md").read_text(encoding="utf-8")
        numbers = re.findall(r"\d\.\d{2,3}", measured)
        assert len(numbers) >= 2
        for number in numbers:
            assert re.search(rf"\| {re.escape(number)}\d? \[", card), (name, number)


@pytest.mark.parametrize("page", [README, RESULTS], ids=["README", "RESULTS"])
def test_links_lead_to_files_headings_and_sections(page):
    links = re.findall(r"\[([^\]]*)\]\((?!https?:)([^)]+)\)", page)
    assert len(links) > 20
    for text, link in links:
        file, _, anchor = link.partition("#")
        assert not file or (ROOT / file).exists(), link
        assert not anchor or f"\n## {anchor.replace('-', ' ').capitalize()}\n" in RESULTS, link
        if file.endswith(".ipynb") and " · " in text:
            section = text.split(" · ", 1)[1]
            assert f'"## {section}' in (ROOT / file).read_text(encoding="utf-8"), text
