"""The notebooks run headlessly, refuse silly parameters, and are committed clean."""

import ast
import re
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest

from lib.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
OPEN = ROOT / "figures" / "open"

SMALL = {  # parameters of a quick run
    "00": "",
    "01": "IQA_MODELS=['baseline-lite0'] INPUT_LONG_SIDE=128 FOLDS=2 ABLATION_IMAGES=2 "
    "PREDICTORS=['msi-net'] OTHER_GAZE={'sample-saliency':{}}",
    "02": "IMAGES=3 MODELS=['baseline-lite0','piqe'] FILLS=['mean'] TWELFTHS=[0,3,12] "
    "LONG_SIDE=96 GAZE_IMAGES=2 EXAMPLES=[1] RESAMPLES=50",
    "03": "REPEATS=2 EPOCHS=1 IMAGE_SIZE=64 CROP_SIZE=32 INPUT_LONG_SIDE=64 FIGURE_IMAGES=[0] "
    "WEIGHTS_TRIED=[0.3] TRAP_REPEATS=1",
    "04": "IMAGES=2 VOTES_PER_PAIR=12 ASSESSORS=60 EXAMPLES=[0,1] STUDIES=1",
    "05": "DATASET_OPTIONS={'images':3,'votes_per_pair':20,'assessors':100} STUDIES=1 "
    "METRICS=['PSNR','EW-PSNR','GMSD','BRISQUE']",
    "06": "MODELS=['sal-loss-lite0'] METRICS=[] SHEET_PICTURES=4 PAGE_PICTURES=3",
}


def code_of(notebook):
    return [c for c in nbformat.read(notebook, 4).cells if c.cell_type == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_with_small_parameters(notebook, tmp_path, monkeypatch):
    for variable in ("FIGURES_DIR", "CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    command = [sys.executable, "-m", "lib", "run", "--output", str(tmp_path / "build")]
    for setting in SMALL[notebook.name[:2]].split():
        command += ["--set", setting]
    done = subprocess.run([*command, str(notebook)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    made = tmp_path / "figures_dir" / "sample"
    tables = {path.stem: pd.read_csv(path) for path in made.glob("*.csv")}
    if notebook.name.startswith("01"):
        metrics = {"NSS", "NSS-paper", "SIM", "CC", "KLD", "AUC-Judd"}
        assert set(tables["table1"].metric) == metrics and (tables["table1"].n == 8).all()
    if notebook.name.startswith("02"):
        table = tables["figure2"]
        assert set(table.measure) == {"SROCC", "PLCC", "score drop"}
        assert set(table["map"]) == {"saliency", "GradCAM", "patches", "centre", "chance"}
        assert table.notna().all(axis=None) and (made / "figure1.png").is_file()
    if notebook.name.startswith("03"):
        table = tables["table2"]
        assert table[table.metric == "SROCC"].stage.nunique() == 2
        assert {"CenterPrior", "Baseline, one pass"} <= set(table.method)
        assert (table["std"].notna() == (table.n > 1)).all() and table.paper.notna().any()
    if notebook.name.startswith("04"):
        encodes = tables["sacid_encodes"]
        assert len(encodes) == 24 and encodes.reachable.all()
        assert ((encodes.bpp / encodes.target_bpp - 1).abs() <= 0.02).all()
    if notebook.name.startswith("05"):
        table = tables["table3"]
        assert set(table.metric) == {"SROCC", "PLCC", "KRCC†"} and (table.n == 3).all()
        assert {"EW-PSNR", "Target bitrate", "Perfect metric"} <= set(table.method)


SILLY = {
    "01": "IMAGES=0 IMAGES=-3 IQA_MODELS=[] IQA_MODELS=['nosuchnet'] FIGURE_IMAGES=[] "
    "FIGURE_IMAGES=[99] INPUT_LONG_SIDE=-1 INPUT_LONG_SIDE=16 ABLATION_IMAGES=-1 FOLDS=20 "
    "CAM='foo' PREDICTORS=['nosuchnet'] PUBLISHED_MODELS=['MUSIQ']",
    "02": "MODELS=[] MODELS=['piqe'] TWELFTHS=[0,6,15] EXAMPLES=[9] FILLS=['white'] "
    "PREDICTOR='nosuchnet' PREDICTOR='transalnet-res'",
    "03": "REPEATS=1 CROP_SIZE=50 SALIENCY_LOSS='mse' FIGURE_IMAGES=[99]",
    "06": "FOLDER='nowhere' FOLDER='.' FRAMES=0 MODELS=[] METRICS=['PSNR'] METRIC_LONG_SIDE=9 "
    "SHEET_PICTURES=1 PAGE_PICTURES=0",
}
FINE = {
    "01": "IMAGES=5 FIGURE_IMAGES=[0] FIGURE_IMAGES=[0,99]",
    "02": "MODELS=['baseline-b0'] MODELS=['piqe','topiq_nr']",
    "03": "REPEATS=3",
}


def each(edits):
    return [(number, edit) for number, several in edits.items() for edit in several.split()]


def checked(number, edit):
    """Run the parameters with an edit, and what follows until the data set is open: its names."""
    (notebook,) = [n for n in NOTEBOOKS if n.name.startswith(number)]
    cells = [c.source for c in code_of(notebook)]
    last = next(i for i, source in enumerate(cells) if "report.require" in source)
    last += next((i for i, s in enumerate(cells[last + 1 :], 1) if "report.require" in s), 0)
    names = {}
    exec(cells[0], names)
    exec(edit, names)
    for source in cells[1 : last + 1]:
        if "plt.show" not in source and "iqa.available" not in source:
            exec(source, names)
    return names


def functions(number, edit):
    """Do as `checked`, and add the functions that the notebook defines."""
    names = checked(number, edit)
    for cell in code_of(NOTEBOOKS[int(number)]):
        body = [node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)]
        exec(compile(ast.Module(body, []), "<notebook>", "exec"), names)
    return SimpleNamespace(**names)


@pytest.mark.parametrize(("number", "edit"), each(SILLY))
def test_a_silly_edit_is_refused_in_one_sentence_before_anything_long(number, edit, empty_cache):
    with pytest.raises((ValueError, FileNotFoundError)) as refused:  # weights that are not there
        checked(number, edit)
    assert 10 < len(str(refused.value)) < 300 and "\n" not in str(refused.value)


@pytest.mark.parametrize(("number", "edit"), each(FINE))
def test_an_edit_that_a_comment_invites_works(number, edit):
    checked(number, edit)


MACHINE = re.compile(r"(?:/home/|/Users/|/root/|[A-Z]:\\\\+Users\\\\+)[\w.-]*")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_outputs_are_whole_clean_and_in_order(notebook):
    code, text = code_of(notebook), notebook.read_text(encoding="utf-8")
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), "make refresh"
    assert sum("parameters" in c.metadata.get("tags", []) for c in code) == 1
    for cell in code:
        assert "injected-parameters" not in cell.metadata.get("tags", [])
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
        if "parameters" in cell.metadata.get("tags", []):
            assert all(line.count("=") == 1 for line in cell.source.splitlines()), "papermill"
    assert notebook.stat().st_size < 1.5e6, "a code-hosting page stops rendering above this"
    assert not MACHINE.search(text) and str(ROOT) not in text, "a folder of one machine"


def test_committed_links_between_notebooks_and_files_lead_somewhere():
    for notebook in NOTEBOOKS:
        for cell in nbformat.read(notebook, 4).cells:
            for link in re.findall(r"\]\(((?!http)[^)#\s]+)\)", cell.source):
                assert (notebook.parent / link).exists(), (notebook.name, link)


def test_committed_notebook_01_shows_the_committed_sample_table():
    cells = code_of(ROOT / "notebooks" / "01_saliency_extraction.ipynb")
    data = [output.get("data", {}) for cell in cells for output in cell.outputs]
    outputs = [each.get("text/markdown", "") for each in data]
    table = pd.read_csv(ROOT / "figures" / "sample" / "table1.csv")
    for row in table[table.metric == "CC"].itertuples():
        shown = f"{row.value:.3f}", f"[{row.low:.3f}, {row.high:.3f}]"
        assert all(number in "".join(outputs) for number in shown), row


# --- sentences by a person, tied to the tables --------------------------------------------------


def prose(number):
    (notebook,) = [n for n in NOTEBOOKS if n.name.startswith(number)]
    cells = nbformat.read(notebook, 4).cells
    return "\n".join(c.source for c in cells if c.cell_type == "markdown")


def test_sentences_of_notebook_01_are_those_of_the_committed_tables():
    table, text = pd.read_csv(OPEN / "table1.csv").query("metric == 'CC'"), prose("01")
    after = table[table.stage.str.startswith("after")].set_index("method").value
    before = table[~table.stage.str.startswith("after")].set_index("method").value
    first, second, center = after[["baseline-lite0", "baseline-lite1", "CenterPrior"]]
    words = f"CC is {first:.3f} for baseline-lite0 and {second:.3f} for baseline-lite1, against"
    assert f"{words} {center:.3f}" in text
    first, second, center = before[["baseline-lite1", "baseline-lite0", "CenterPrior"]]
    assert f"are behind by CC ({first:.3f} and {second:.3f} against {center:.3f})" in text
    sizes = pd.read_csv(OPEN / "table1_scene_sizes.csv").query("method == 'baseline-lite0'")
    sizes = sizes.set_index(["stage", "metric", "read"]).sort_index().value["as extracted", "CC"]
    small, large = sizes[["enlarged", "not enlarged"]]
    assert f"CC as extracted is {small:.3f}, on the others {large:.3f}; the prior is" in text
    light = pd.read_csv(OPEN / "table2.csv").query("method == 'Baseline' and metric == 'CC'")
    assert f"lightly, reach {light.value[light.stage.str.startswith('after')].item():.3f}" in text
    assert f"reaches a CC of {after['ImageNet trunk only']:.3f}" in text
    assert f"({after['spectral residual']:.3f})" in text


def test_sentences_of_notebook_02_are_those_of_the_committed_tables():
    areas = pd.read_csv(OPEN / "figure2_areas.csv").query("measure == 'SROCC'")
    areas = areas[areas.model.str.startswith("baseline")].groupby("map").value
    low, high = areas.min(), areas.max()
    points = pd.read_csv(OPEN / "figure2.csv").query("measure == 'SROCC' and strategy == 'MoRF'")
    points = points[points.model == "baseline-lite0"].assign(share=points.share.round(2))
    value = points.set_index(["fill", "share", "map"]).value.sort_index()
    alike = pd.read_csv(OPEN / "figure2_agreement.csv").query("measure == 'SROCC'")
    alike = alike.groupby("beyond").value
    text = prose("02")
    assert f"{low['saliency']:.3f} to {high['saliency']:.3f} for saliency masks" in text
    assert f"{low['GradCAM']:.3f} to {high['GradCAM']:.3f} for GradCAM" in text
    assert f"centre's is {high['centre']:.3f} at most, chance's {high['chance']:.3f}" in text
    black, blur = (value[fill, share] for fill, share in (("black", 0.17), ("blur", 0.33)))
    words = f"an SROCC of {black.saliency:.3f}, hiding chance blobs {black.chance:.3f}"
    assert words in text and f"({blur.saliency:.3f} against {blur.chance:.3f}" in text
    own = pd.read_csv(OPEN / "figure2_most_relevant_first.csv").query("model != 'piqe'")
    own = own[(own.maps == "saliency − another's saliency") & (own.share.round(2) == 0.33)]
    words = f"costs {own.value.min():.3f} to {own.value.max():.3f} more SROCC, above zero in all"
    assert words in text and (own.low > 0).sum() == len(own) == 6
    first, beyond = ((alike.min()[b], alike.max()[b]) for b in ("nothing", "chance"))
    assert "at {:.2f} to {:.2f}, and at {:.2f} to {:.2f} beyond".format(*first, *beyond) in text


def test_sentences_of_notebook_03_are_those_of_the_committed_tables():
    table = pd.read_csv(OPEN / "table2.csv").set_index(["stage", "method", "metric"]).sort_index()
    equal, text = pd.read_csv(OPEN / "table2_equivalence.csv").set_index("method"), prose("03")
    for stage, words in {
        "as extracted": "CC rises from {:.3f} to {:.3f} with a decoder and to {:.3f} without one",
        "Scene, as extracted": "On Scene, which no network knew, {:.3f} becomes {:.3f} and {:.3f}",
    }.items():
        cc = [table.value[stage, name, "CC"] for name in ("Baseline", *equal.index)]
        assert words.format(*cc) in text
    assert f"reaches {table.value['as extracted', 'Baseline, one pass', 'CC']:.3f}: it is" in text
    for name, row in equal.iterrows():
        assert (row.p_equal < 0.05) == (name == "Baseline-Sal-Loss") and row.margin == 0.01
        gap = table.loc["held-out photographs", name, "SROCC"].filter(like="difference")
        assert "{:+.3f} [{:+.3f}, {:+.3f}]".format(*gap) in text and f"{row.p_equal:.4f})" in text
