"""The paper's profile runs from end to end, and leaves out no row of the paper's tables."""

import subprocess
import sys

import pandas as pd
import pytest
import yaml

from benchmarks.dry_run import SCRATCH
from lib import report
from lib.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def figures():
    subprocess.run([sys.executable, "-m", "benchmarks.dry_run"], cwd=ROOT, check=True)
    return SCRATCH / "figures" / "dry run"


def test_every_number_of_the_paper_has_a_row_of_ours_beside_it(figures):
    profile = yaml.safe_load((ROOT / "profiles" / "paper.yaml").read_text())
    names = {"table1": profile["01"]["BESIDE"], "table3": profile["05"]["BESIDE"]}
    for name, ours in (names | {"table2": {"Center Prior": "CenterPrior"}}).items():
        printed = report.paper_table(name, **ours)
        printed = printed.melt(["method"], printed.select_dtypes("number").columns).dropna()
        table = pd.read_csv(figures / f"{name}.csv")
        beside = {*zip(table.method, table.paper, strict=True)}
        assert not {*zip(printed.method, printed.value, strict=True)} - beside, name
        assert table.value.notna().all()


def test_every_figure_of_the_open_profile_is_drawn(figures):
    folders = ROOT / "figures" / "open", figures
    wanted, drawn = ({p.name for p in folder.glob("*.png")} for folder in folders)
    rare = {"table2_repeats.png", "readings_scene.png"}
    assert wanted - drawn - {"own_pictures.png"} == rare  # of many repeats, of square pictures
