"""Notebooks run with a profile's parameters, fail loudly, and are committed clean."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib import run, settings
from lib.__main__ import main
from lib.paths import ROOT, cache_dir, data_dir, figures_dir

PARAMETERS = "seed = 0  # of every random number\nn = 1  # images\nname = 'a'\nJOBS = 1"


def write_notebook(path, *sources, parameters=PARAMETERS):
    """Write a notebook of a title, a parameters cell and further code cells."""
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# Title"), tagged, *map(new_code_cell, sources)]
    path.parent.mkdir(parents=True, exist_ok=True)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "notebooks" / "01_tiny.ipynb", "print(seed, n, name)")


@pytest.fixture
def profile(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    (tmp_path / "profiles").mkdir()

    def write(text):
        (tmp_path / "profiles" / "tiny.yaml").write_text(text)

    return write


def outputs_of(path):
    """Return all that a notebook's cells printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def sleeping(folder, code, *arguments, **pipes):
    """Start a process that runs a notebook, and hand it over when the notebook sleeps."""
    sources = "open('started', 'w').close()\nimport time; time.sleep(60)"
    path = write_notebook(folder / "01_tiny.ipynb", sources)
    command = [sys.executable, "-c", code, *arguments, path]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)
    deadline = time.monotonic() + 60
    while not (folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (folder / "started").exists()
    return process


def test_a_notebooks_own_section_wins_over_common_and_the_command_line_over_both(
    notebook, profile, monkeypatch
):
    profile("common: {seed: 5, n: 2, workers: 4}\n'01': {n: 3, JOBS: 2}\n'02': {other: 1}")
    assert run.parameters(notebook, "tiny") == {"seed": 5, "n": 3, "JOBS": 2}
    monkeypatch.setattr(run, "execute", lambda *given: found.append(given[2]["JOBS"]))
    found, folder = [], notebook.parents[1]
    for jobs in (None, 3):
        run.run([notebook], "tiny", folder, {}, jobs)
    assert found == [2, 3]


def test_sample_is_the_notebook_as_it_is_written(tmp_path):
    path = write_notebook(tmp_path / "02_named.ipynb", parameters="PROFILE = 'sample'\nn = 1")
    assert run.parameters(path, "sample") == {"PROFILE": "sample"}


MALFORMED = {"1: {n: 3}": "", "[a, b]": "", "common: 3": "", "notebook: {n: 1}": "", "10: {}": ""}
MALFORMED |= {"'01': {1: 2}": ", section '01': .* no parameter 1"}
MALFORMED |= {"'01': {sed: 5}": ", section '01'.*no parameter sed; it declares seed, n"}
MALFORMED |= {"'01':\n\tn: 1": ", line 2: not Y"}
MALFORMED |= {"'01': {n: 1}\n\"01\": {n: 2}": ", line 2: .*: 01 stands twice"}
MALFORMED |= {"'01':\n  n: 1\n  n: 2": ", line 3: .*: n stands twice", "# caf\xe9": ": .*utf-8"}


@pytest.mark.parametrize(("text", "message"), MALFORMED.items())
def test_a_malformed_profile_is_an_error_that_names_the_file(notebook, profile, text, message):
    profile("")
    (notebook.parents[1] / "profiles" / "tiny.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"tiny\.yaml{message}"):
        run.parameters(notebook, "tiny")


def test_numbers_are_numbers_and_all_that_only_yaml_1_1_takes_for_some_is_text():
    text = "[1e-4, 2.5E3, -1e5, 3, 0.5, 010, 1_000, true, null, 12:30, 2024-01-01, tcp://a:1, 'no']"
    numbers = [1e-4, 2500.0, -1e5, 3, 0.5, 10, 1000, True, None]
    assert settings.read_yaml(text, "x") == [*numbers, "12:30", "2024-01-01", "tcp://a:1", "no"]


BAD = ["[a", "[", "a: b: c", "yes", "{a: Off}", "{a: 1, a: 2}", ".inf", "1e999", "!!set {a}", "\0"]
BAD += ["!!int a", "!!binary aGk=", "!!timestamp a", "!!bool a", "&a [*a]", "{[a]: 1}", "[" * 5000]


@pytest.mark.parametrize("text", BAD)
def test_what_settings_cannot_hold_is_one_line_that_says_where(text):
    with pytest.raises(ValueError, match=r"^--set NAMES: not [^\n]+$"):
        settings.read_yaml(text, "--set NAMES")


def test_a_run_injects_parameters_and_imports_this_lib_with_this_python(tmp_path, capfd):
    notebook = write_notebook(
        tmp_path / "notebooks" / "01_tiny.ipynb",
        "print(seed, n, name)",
        "import os, sys, lib.paths\nprint(sys.executable, lib.paths.ROOT, os.getcwd())",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='maps'):\n    pass",
    )
    output = tmp_path / "build" / "01_tiny.ipynb"
    settings = ["--set", "name=b", "--set", "n=3", "--output", str(output.parent)]
    assert main(["run", *settings, str(notebook)]) == 0
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
    os.utime(notebook, (4e9, 4e9))  # edited when the clock stood wrong: fresh all the same
    run.execute(notebook, tmp_path / "build" / "01_tiny.ipynb", {})
    assert 4e9 < (tmp_path / "build" / "01_tiny.ipynb").stat().st_mtime < 4e9 + 1


def test_a_failing_cell_stops_with_its_number_and_keeps_the_copy(tmp_path, capfd):
    path = tmp_path / "notebooks" / "01_tiny.ipynb"
    write_notebook(path, "print('before')", "raise ValueError('density sums to 0')", "print(1)")
    output = tmp_path / "build" / path.name
    output.parent.mkdir(parents=True)
    output.write_text("the last good run")

    assert main(["run", "--output", str(output.parent), str(path)]) == 1
    printed = capfd.readouterr()
    assert "01_tiny.ipynb failed in cell 4" in printed.err
    assert "ValueError: density sums to 0" in printed.err
    assert names_in(output.parent) == ["01_tiny.failed.ipynb", "01_tiny.ipynb"]
    assert outputs_of(output.with_suffix(".failed.ipynb")).startswith("before\n")
    assert output.read_text() == "the last good run"

    write_notebook(path, "print('mended')")
    assert main(["run", "--output", str(output.parent), str(path)]) == 0
    assert names_in(output.parent) == ["01_tiny.ipynb"]


def test_a_killed_kernel_is_reported_and_keeps_the_copy(tmp_path):
    path = write_notebook(tmp_path / "01_tiny.ipynb", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(run.NotebookError, match="its kernel died"):
        run.execute(path, tmp_path / "build" / path.name, {})
    assert names_in(tmp_path / "build") == ["01_tiny.failed.ipynb"]


def test_a_killed_run_leaves_no_result_that_could_be_taken_for_one(tmp_path):
    output = tmp_path / "build" / "01_tiny.ipynb"
    code = "import sys, pathlib as p, lib.run as r; r.execute(*map(p.Path, sys.argv[:0:-1]), {})"
    process = sleeping(tmp_path, code, output)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert names_in(output.parent) == ["01_tiny.running.ipynb"]


CONFLICT = '<<<<<<< HEAD\n{"cells": []}\n======='
NOTEBOOKS = {"cut": '{"cells": [', "conflict": CONFLICT, "list": "[]", "empty": "", "none": "{}"}


@pytest.mark.parametrize("text", NOTEBOOKS.values(), ids=NOTEBOOKS)
@pytest.mark.parametrize("command", ["run", "refresh"])
def test_a_damaged_notebook_is_named_before_any_work(tmp_path, capsys, monkeypatch, command, text):
    path = tmp_path / "build" / "sample" / "91_damaged.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    monkeypatch.setattr("lib.__main__.ROOT", tmp_path)
    assert main([command, str(path)]) == 1
    assert re.search(r"^error: .*91_damaged\.ipynb is no whole", capsys.readouterr().err, re.M)


REFUSED = {
    "--jobs 0": "--jobs 0: give a number but 0, local:8, or",
    "--set NAMES=[a": "--set NAMES: not YAML",
    "--set n": "--set n: expected NAME=VALUE",
    "--set m=1": r"--set: 00_start_here\.ipynb declares no parameter m; it",
    "--set SEED=a notebooks/02_saliency_masking.ipynb": "--set: SEED must be like 0, not 'a'",
    "--set PROFILE=1 notebooks/02_saliency_masking.ipynb": "--set: PROFILE must be like 'sample', ",
    "--output /dev/null/x": "nothing can be written into",
    "--output notebooks": ".* would be overwritten",
    "--profile ../profiles/open": "No profile .*/open",
    "--profile none": "No profile .* there: sample, open, paper",
    "notebooks/99_none.ipynb": "No notebook notebooks/99_none.ipynb",
}


@pytest.mark.parametrize(("words", "says"), REFUSED.items())
def test_what_run_cannot_do_is_one_line_and_exit_1(words, says, capsys, monkeypatch):
    monkeypatch.setattr(run, "execute", None)
    monkeypatch.chdir(ROOT)
    assert main(["run", *words.split()]) == 1
    assert re.fullmatch(rf"\nerror: {says}[^\n]*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("shell", "status", "says"),
    [
        ("", 141, ""),  # into a closed pipe
        ("> /dev/full", 1, "\nerror: .*No space left[^\n]*\n"),
        (">&-", 0, ""),
    ],
)
def test_output_that_goes_nowhere_ends_in_one_line_and_the_status(shell, status, says):
    reader, writer = os.pipe()
    os.close(reader)
    command = ["sh", "-c", f"exec '{sys.executable}' -m lib data --profile sample {shell}"]
    pipes = {"stdout": writer, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.run(command, cwd=ROOT, **pipes)
    os.close(writer)
    assert done.returncode == status and re.fullmatch(says, done.stderr)


def test_ctrl_c_is_one_line_and_130(tmp_path):
    # A shell's background processes ignore SIGINT, and so would theirs.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from lib.__main__ import main; sys.exit(main(sys.argv[1:]))"
    pipes = {"stderr": subprocess.PIPE, "text": True}
    process = sleeping(tmp_path, code, "run", "--output", tmp_path / "build", **pipes)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in errors
    assert errors.endswith("\nstopped; the same command goes on from here\n")


def test_a_terminal_without_arrows_gets_substitutes(tmp_path):
    notebook = write_notebook(tmp_path / "01_tiny.ipynb", "print(seed, '↑')")
    command = [sys.executable, "-m", "lib", "run", "--output", tmp_path / "build", notebook]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "HOME": "/dev/null"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0 and b"0 ?\n" in done.stdout


def test_the_front_door_starts_without_the_heavy_packages():
    heavy = {"nbconvert", "pandas", "papermill", "pyiqa", "seaborn", "torch"}
    for words, needed in {"--help": set(), "absent.ipynb": {"papermill"}}.items():
        command = [sys.executable, "-X", "importtime", "-m", "lib", "run", words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert imported & heavy == needed and "argparse" in imported


def test_refreshed_notebooks_are_clean_carry_the_outputs_and_come_out_the_same(tmp_path):
    shown = "import sys as s; print(seed, flush=True); print('1 it/s', file=s.stderr); print(8); n"
    notebook = write_notebook(tmp_path / "01_tiny.ipynb", shown)
    sources = [cell.source for cell in nbformat.read(notebook, as_version=4).cells]
    age, output = notebook.stat().st_mtime, tmp_path / "build" / notebook.name

    def refreshed():
        run.execute(notebook, output, {"seed": 7})
        run.refresh(notebook, output)
        return notebook.read_bytes()

    first = refreshed()
    assert [cell.source for cell in nbformat.read(notebook, as_version=4).cells] == sources
    assert nbformat.read(notebook, as_version=4).cells[-1].outputs[0].text == "7\n8\n"
    assert notebook.stat().st_mtime == age  # or make would run it once more
    assert b"papermill" not in first
    assert refreshed() == first


def test_outputs_of_an_older_source_are_refused(notebook, tmp_path):
    older = write_notebook(tmp_path / "build" / notebook.name, "print('older')")
    with pytest.raises(ValueError, match=r"01_tiny\.ipynb has changed since"):
        run.refresh(notebook, older)
    with pytest.raises(FileNotFoundError, match="make reproduce"):
        run.refresh(notebook, tmp_path / "absent.ipynb")


def test_verify_has_an_empty_cache_in_a_folder_of_its_own(tmp_path, monkeypatch, capfd, profile):
    profile("'01': {n: 2}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    table = (
        "from lib.paths import cache_dir, figures_dir\n"
        "assert not cache_dir().exists()\n"
        "figures_dir('tiny').mkdir(parents=True)\n"
        "(figures_dir('tiny') / 'table1.csv').write_text(f'n\\n{n}\\n')\n"
        "(figures_dir('tiny') / 'provenance.json').write_text('{\"t\": {\"processor\": \"a\"}}')"
    )
    path = write_notebook(tmp_path / "notebooks" / "01_tiny.ipynb", table)
    committed = tmp_path / "figures" / "tiny" / "table1.csv"
    committed.parent.mkdir(parents=True)
    committed.write_text("n\n2\n")

    def verify():
        monkeypatch.setenv("FIGURES_DIR", str(tmp_path / "figures"))
        monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
        return main(["verify", "--profile", "tiny", str(path)])

    assert verify() == 0
    assert "ok      table1.csv" in capfd.readouterr().out
    made = tmp_path / "build" / "verify" / "tiny" / "figures"
    kept = shutil.copytree(made, tmp_path / "kept")  # what one run made serves all comparisons
    monkeypatch.setattr(run, "run", lambda *_: shutil.copytree(kept, made))
    committed.write_text("n\n3\n")
    assert verify() == 1
    assert r"line 2: committed '3\n', now '2\n'" in capfd.readouterr().out
    assert committed.read_text() == "n\n3\n"
    for processor, near in {"a": 1, "b": 0}.items():  # on the same machine every byte counts
        committed.write_text("n\n2.01\n")
        made_by = committed.with_name("provenance.json")
        made_by.write_text(f'{{"t": {{"processor": "{processor}"}}}}')
        assert verify() == near
    assert "near    table1.csv\nmade on another machine" in capfd.readouterr().out


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
