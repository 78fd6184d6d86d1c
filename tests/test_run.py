"""Notebooks run with a profile's parameters, fail loudly, and are committed clean."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lib import run
from lib.paths import ROOT, cache_dir, data_dir, figures_dir

PARAMETERS = "seed = 0  # of every random number\nn = 1  # images\nname = 'a'  # of the model"


def write_notebook(path, *sources, parameters=PARAMETERS):
    """Write a notebook of a title, a parameters cell and further code cells."""
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# Title"), tagged, *map(new_code_cell, sources)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "notebooks" / "01_tiny.ipynb", "print(seed, n, name)")


@pytest.fixture
def profile(tmp_path):
    def write(text):
        path = tmp_path / "tiny.yaml"
        path.write_text(text)
        return path

    return write


def outputs_of(path):
    """Return all that a notebook's cells printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# -- parameters


def test_a_notebooks_own_section_wins_over_common(notebook, profile):
    path = profile("common: {seed: 5, n: 2}\n'01': {n: 3}\n'02': {other: 1}")
    assert run.profile_parameters(path, notebook) == {"seed": 5, "n": 3}


def test_common_parameters_reach_only_notebooks_that_declare_them(notebook, profile):
    path = profile("common: {seed: 5, workers: 4}")
    assert run.profile_parameters(path, notebook) == {"seed": 5}


def test_a_notebook_that_declares_profile_learns_its_name(tmp_path, profile):
    path = write_notebook(tmp_path / "02_named.ipynb", parameters="PROFILE = 'sample'")
    assert run.profile_parameters(profile(""), path) == {"PROFILE": "tiny"}


def test_a_misspelled_parameter_is_an_error_that_names_it(notebook, profile):
    with pytest.raises(ValueError, match=r"section '01'.*no parameter sed; it declares n, name"):
        run.profile_parameters(profile("'01': {sed: 5}"), notebook)


@pytest.mark.parametrize("text", ["1: {n: 3}", "[a, b]", "common: 3", "notebook: {n: 1}"])
def test_a_malformed_profile_is_an_error_that_names_the_file(notebook, profile, text):
    with pytest.raises(ValueError, match=r"tiny\.yaml"):
        run.profile_parameters(profile(text), notebook)


def test_a_missing_profile_is_an_error_that_lists_those_there(notebook, profile):
    present = profile("")
    with pytest.raises(FileNotFoundError, match="profiles there: tiny"):
        run.profile_parameters(present.with_name("absent.yaml"), notebook)


# -- executing


def test_a_run_injects_parameters_and_imports_this_lib_with_this_python(tmp_path, profile, capfd):
    notebook = write_notebook(
        tmp_path / "notebooks" / "01_tiny.ipynb",
        "print(seed, n, name)",
        "import os, sys, lib.paths\nprint(sys.executable, lib.paths.ROOT, os.getcwd())",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='maps'):\n    pass",
    )
    output = tmp_path / "build" / "01_tiny.ipynb"
    run.run_notebook(notebook, profile("'01': {n: 3}"), output, {"name": "b"}, jobs=None)
    printed = capfd.readouterr()
    assert "0 3 b" in printed.out
    assert f"{sys.executable} {ROOT} {notebook.parent}" in printed.out
    assert "maps: 100%" in printed.err  # a bar as text, not a widget that no terminal shows
    assert outputs_of(output).startswith("0 3 b\n")
    assert names_in(output.parent) == [output.name]
    assert "0 3 b" not in notebook.read_text()


def test_an_edit_made_during_the_run_is_newer_than_its_result(tmp_path):
    edits = "import pathlib, time; time.sleep(0.05); pathlib.Path('edited').touch()"
    notebook = write_notebook(tmp_path / "01_tiny.ipynb", edits)
    run.execute(notebook, tmp_path / "build" / "01_tiny.ipynb", {})
    result = (tmp_path / "build" / "01_tiny.ipynb").stat().st_mtime
    assert notebook.stat().st_mtime < result < (tmp_path / "edited").stat().st_mtime


def test_a_failing_cell_stops_with_its_number_and_keeps_the_copy(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "tiny.yaml").write_text("'01': {n: 3}")
    path = tmp_path / "notebooks" / "01_tiny.ipynb"
    write_notebook(path, "print('before')", "raise ValueError('density sums to 0')", "print(1)")
    output = tmp_path / "build" / "tiny" / path.name
    output.parent.mkdir(parents=True)
    output.write_text("the last good run")

    assert run.main(["notebook", "--profile", "tiny", str(path)]) == 1
    printed = capfd.readouterr()
    assert "01_tiny.ipynb failed in cell 4" in printed.err
    assert "ValueError: density sums to 0" in printed.err
    assert names_in(output.parent) == ["01_tiny.failed.ipynb", "01_tiny.ipynb"]
    assert outputs_of(output.with_suffix(".failed.ipynb")).startswith("before\n")
    assert output.read_text() == "the last good run"

    write_notebook(path, "print('mended')")
    assert run.main(["notebook", "--profile", "tiny", str(path)]) == 0
    assert names_in(output.parent) == ["01_tiny.ipynb"]


def test_a_killed_kernel_is_reported_and_keeps_the_copy(tmp_path):
    path = write_notebook(tmp_path / "01_tiny.ipynb", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(run.NotebookError, match="its kernel died"):
        run.execute(path, tmp_path / "build" / path.name, {})
    assert names_in(tmp_path / "build") == ["01_tiny.failed.ipynb"]


def test_a_killed_run_leaves_no_result_that_could_be_taken_for_one(tmp_path):
    path = write_notebook(
        tmp_path / "01_tiny.ipynb", "open('started', 'w').close()\nimport time; time.sleep(60)"
    )
    output = tmp_path / "build" / path.name
    code = "import sys, pathlib as p, lib.run as r; r.execute(*map(p.Path, sys.argv[1:]), {})"
    command = [sys.executable, "-c", code, path, output]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "started").exists()
    assert names_in(output.parent) == ["01_tiny.running.ipynb"]


def test_an_override_that_the_notebook_does_not_declare_is_an_error(notebook, profile, tmp_path):
    with pytest.raises(ValueError, match=r"--set m: 01_tiny\.ipynb declares n, name, seed"):
        run.run_notebook(notebook, profile(""), tmp_path / "x.ipynb", {"m": 1}, jobs=None)


def test_overrides_are_yaml_values():
    assert run._overrides(["a=3", "b=[x, 1.5]", "c=k=v"]) == {"a": 3, "b": ["x", 1.5], "c": "k=v"}
    with pytest.raises(ValueError, match="NAME=VALUE"):
        run._overrides(["a"])


# -- committed outputs


def executed(notebook, tmp_path, parameters):
    output = tmp_path / "build" / notebook.name
    run.execute(notebook, output, parameters)
    return output


def test_refreshed_notebooks_are_clean_carry_the_outputs_and_come_out_the_same(tmp_path):
    shown = "import sys; print(seed); print('12 it/s', file=sys.stderr); n"
    notebook = write_notebook(tmp_path / "01_tiny.ipynb", shown)
    assert run.hygiene(notebook)  # never executed
    sources = [cell.source for cell in nbformat.read(notebook, as_version=4).cells]
    age = notebook.stat().st_mtime

    run.refresh(notebook, executed(notebook, tmp_path, {"seed": 7}))
    first = notebook.read_bytes()
    assert run.hygiene(notebook) == []
    assert [cell.source for cell in nbformat.read(notebook, as_version=4).cells] == sources
    assert outputs_of(notebook) == "7\n"
    assert notebook.stat().st_mtime == age  # or make would run it once more
    assert b"papermill" not in first

    run.refresh(notebook, executed(notebook, tmp_path, {"seed": 7}))
    assert notebook.read_bytes() == first


def test_outputs_of_an_older_source_are_refused(notebook, tmp_path):
    output = executed(notebook, tmp_path, {})
    write_notebook(notebook, "print('edited')")
    with pytest.raises(ValueError, match=r"01_tiny\.ipynb: it has changed since"):
        run.refresh(notebook, output)
    with pytest.raises(FileNotFoundError, match="make reproduce"):
        run.refresh(notebook, tmp_path / "absent.ipynb")


def clean_notebook():
    tagged = new_code_cell("n = 1", metadata={"tags": ["parameters"]}, execution_count=1)
    stream = new_output("stream", name="stdout", text="1\n")
    shown = new_code_cell("print(n)", execution_count=2, outputs=[stream])
    return new_notebook(cells=[tagged, shown])


def faults_of(notebook, tmp_path):
    path = tmp_path / "01_tiny.ipynb"
    nbformat.write(notebook, path)
    return "; ".join(run.hygiene(path))


def test_a_parameter_whose_comment_papermill_cannot_read_is_a_fault(tmp_path):
    notebook = clean_notebook()
    notebook.cells[0].source = "n = 1  # or: make data PROFILE=open"
    assert "papermill cannot read the parameter line" in faults_of(notebook, tmp_path)


def test_a_clean_notebook_has_no_faults(tmp_path):
    assert faults_of(clean_notebook(), tmp_path) == ""


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "error: ValueError"),
        (new_output("stream", name="stderr", text="3 it/s"), "holds a widget or stderr"),
        (
            new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}}),
            "holds a widget or stderr",
        ),
        (new_output("stream", name="stdout", text="/home/ann/x.png"), "one machine: /home/ann"),
        (new_output("stream", name="stdout", text="/Users/ann/x.png"), "one machine: /Users/ann"),
        (new_output("stream", name="stdout", text="x" * run.MAX_BYTES), "1.5 MB"),
    ],
)
def test_what_does_not_belong_in_a_committed_notebook_is_named(output, fault, tmp_path):
    notebook = clean_notebook()
    notebook.cells[1].outputs = [output]
    assert fault in faults_of(notebook, tmp_path)


def test_counts_out_of_order_and_untagged_parameters_are_faults(tmp_path):
    notebook = clean_notebook()
    notebook.cells[1].execution_count = 5
    notebook.cells[0].metadata = {}
    faults = faults_of(notebook, tmp_path)
    assert "counts [1, 5] are not 1 to 2" in faults
    assert "0 code cells are tagged parameters" in faults


def test_lint_exits_1_on_a_fault_and_0_without(tmp_path, capsys):
    path = tmp_path / "01_tiny.ipynb"
    nbformat.write(clean_notebook(), path)
    assert run.main(["lint-notebooks", str(path)]) == 0
    write_notebook(path)
    assert run.main(["lint-notebooks", str(path)]) == 1
    assert "01_tiny.ipynb: execution counts" in capsys.readouterr().out


# -- verifying


def write_tables(folder, **tables):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_tables_agree_byte_for_byte_or_the_first_differing_line_is_named(tmp_path):
    committed = write_tables(tmp_path / "a", same="x\n1\n", other="x\n1\n2\n", gone="x\n")
    now = write_tables(tmp_path / "b", same="x\n1\n", other="x\n1.0\n2\n", new="x\n")
    differences = {c.name: c.difference for c in run.compare_tables(committed, now)}
    assert differences == {
        "same.csv": None,
        "other.csv": r"line 2: committed '1\n', now '1.0\n'",
        "gone.csv": "not made again",
        "new.csv": "not committed",
    }
    partial = run.compare_tables(committed, now, partial=True)
    assert [c.name for c in partial] == ["new.csv", "other.csv", "same.csv"]


def test_a_cut_table_and_another_line_ending_are_differences(tmp_path):
    committed = write_tables(tmp_path / "a", cut="x\n1\n", crlf="x\n")
    now = write_tables(tmp_path / "b", cut="x\n")
    (now / "crlf.csv").write_bytes(b"x\r\n")
    differences = {c.name: c.difference for c in run.compare_tables(committed, now)}
    assert differences["cut.csv"] == r"line 2: committed '1\n', now no line"
    assert differences["crlf.csv"] == r"line 1: committed 'x\n', now 'x\r\n'"


def test_verify_runs_with_an_empty_cache_in_a_folder_of_its_own(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setenv("FIGURES_DIR", str(tmp_path / "figures"))
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "tiny.yaml").write_text(yaml.safe_dump({"01": {"n": 2}}))
    table = (
        "from lib.paths import cache_dir, figures_dir\n"
        "assert not cache_dir().exists()\n"
        "figures_dir('tiny').mkdir(parents=True)\n"
        "(figures_dir('tiny') / 'table1.csv').write_text(f'n\\n{n}\\n')"
    )
    path = write_notebook(tmp_path / "notebooks" / "01_tiny.ipynb", table)
    committed = write_tables(tmp_path / "figures" / "tiny", table1="n\n2\n")

    def verify():
        monkeypatch.setenv("FIGURES_DIR", str(tmp_path / "figures"))
        monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
        return run.main(["verify", "--profile", "tiny", str(path)])

    assert verify() == 0
    assert "ok      table1.csv" in capfd.readouterr().out
    write_tables(committed, table1="n\n3\n")
    assert verify() == 1
    assert r"line 2: committed '3\n', now '2\n'" in capfd.readouterr().out
    assert (committed / "table1.csv").read_text() == "n\n3\n"


# -- paths


def test_relative_folders_count_from_the_repository_not_from_the_working_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("DATA_DIR", "CACHE_DIR", "FIGURES_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert (data_dir(), cache_dir()) == (ROOT / "data", ROOT / ".cache")
    monkeypatch.setenv("DATA_DIR", "../shared/data")
    monkeypatch.setenv("FIGURES_DIR", str(tmp_path))
    assert data_dir() == ROOT / "../shared/data"
    assert figures_dir("open") == tmp_path / "open"
