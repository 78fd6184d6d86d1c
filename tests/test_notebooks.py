"""The notebooks run headlessly, and the committed outputs are those of the committed tables."""

import json
import subprocess
import sys

import nbformat
import pandas as pd
import pytest

from lib.dual_task import TUNED, VARIANTS
from lib.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

SMALL = {
    "00": {},
    "01": {
        "IQA_MODELS": ["baseline-lite0"],
        "INPUT_LONG_SIDE": 128,
        "FOLDS": 2,
        "ABLATION_IMAGES": 2,
        "FIGURE_IMAGES": [0, 1],
    },
    "02": {
        "IMAGES": 3,
        "MODELS": ["baseline-lite0", "piqe"],
        "FILLS": ["mean", "in-painting"],
        "TWELFTHS": [0, 3, 12],
        "LONG_SIDE": 96,
        "GAZE_IMAGES": 2,
        "EXAMPLES": [1],
        "RESAMPLES": 20,
    },
    "03": {
        "EPOCHS": 1,
        "IMAGE_SIZE": 64,
        "CROP_SIZE": 32,
        "INPUT_LONG_SIDE": 64,
        "FINE_TUNE_EPOCHS": 1,
        "TRADE_OFF": [1.0],
        "FIGURE_IMAGES": [0, 1],
    },
    "04": {
        "IMAGES": 2,
        "VOTES_PER_PAIR": 12,
        "ASSESSORS": 60,
        "EXAMPLES": [0, 1],
        "STUDIES": 1,
    },
    "05": {
        "DATASET_OPTIONS": {"images": 3, "votes_per_pair": 20, "assessors": 100},
        "METRICS": ["PSNR", "EW-PSNR", "GMSD", "BRISQUE"],
        "STUDIES": 1,
    },
}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_with_small_parameters(notebook, tmp_path, monkeypatch):
    for variable in ("FIGURES_DIR", "CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    settings = [
        part
        for name, value in SMALL[notebook.name[:2]].items()
        for part in ("--set", f"{name}={json.dumps(value)}")
    ]
    command = [sys.executable, "-m", "lib.run", "notebook", "--profile", "sample", *settings]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "build"), str(notebook)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    if notebook.name.startswith("01"):
        table = pd.read_csv(tmp_path / "figures_dir" / "sample" / "table1.csv")
        assert set(table.metric) == {"NSS", "NSS-paper", "SIM", "CC", "KLD", "AUC-Judd"}
        assert (table.n == 8).all()
    if notebook.name.startswith("02"):
        table = pd.read_csv(tmp_path / "figures_dir" / "sample" / "figure2.csv")
        assert set(table.measure) == {"SROCC", "PLCC", "score drop"}
        assert set(table["map"]) == {"saliency", "GradCAM", "patches", "centre", "chance"}
        assert table.notna().all(axis=None)
    if notebook.name.startswith("03"):
        table = pd.read_csv(tmp_path / "figures_dir" / "sample" / "table2.csv")
        quality = table[table.metric == "SROCC"]
        assert quality.stage.nunique() == 2 and set(quality.method) == {*VARIANTS, TUNED}
        assert {"CenterPrior", "Baseline, one pass"} <= set(table.method)
        assert (table["std"].notna() == (table.n > 1)).all() and table.paper.notna().any()
    if notebook.name.startswith("04"):
        encodes = pd.read_csv(tmp_path / "figures_dir" / "sample" / "sacid_encodes.csv")
        assert len(encodes) == 24 and encodes.reachable.all()
        assert ((encodes.bpp / encodes.target_bpp - 1).abs() <= 0.02).all()
    if notebook.name.startswith("05"):
        table = pd.read_csv(tmp_path / "figures_dir" / "sample" / "table3.csv")
        assert set(table.metric) == {"SROCC", "PLCC", "KRCC†"} and (table.n == 3).all()
        assert {"EW-PSNR", "Target bitrate", "Perfect metric"} <= set(table.method)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_outputs_are_whole_and_in_order(notebook):
    code = [c for c in nbformat.read(notebook, 4).cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    assert notebook.stat().st_size < 1.5e6


def test_notebook_01_shows_the_committed_sample_table():
    outputs = [
        out["data"]["text/markdown"]
        for cell in nbformat.read(ROOT / "notebooks" / "01_saliency_extraction.ipynb", 4).cells
        if cell.cell_type == "code"
        for out in cell.outputs
        if "text/markdown" in out.get("data", {})
    ]
    shown = "".join("".join(text) for text in outputs)
    table = pd.read_csv(ROOT / "figures" / "sample" / "table1.csv")
    for row in table[table.metric == "CC"].itertuples():
        assert f"{row.value:.3f}" in shown and f"[{row.low:.3f}, {row.high:.3f}]" in shown, row
