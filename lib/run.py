"""Execute, refresh and verify the notebooks with papermill.

`sample` is the notebooks as they are written; any other profile is ``profiles/<name>.yaml``, a
section a notebook under its quoted number ("01":), whose names the notebook must declare, and
perhaps ``common:`` for all that declare them.
"""

import filecmp
import json
import os
import re
import shutil
import sys
import time
from ast import literal_eval
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lib.paths import ROOT, cache_dir, figures_dir
from lib.settings import read_yaml

# A widget shows nothing on a terminal and nothing on a rendered page: bars as text when headless.
TEXT_BARS = "import tqdm.auto as a, tqdm.std as s; a.tqdm, a.trange = s.tqdm, s.trange; del a, s"
# Memory kept, and threads that do not wait busily, as in the Makefile, which says why. And sliders
# with nobody there to move them can leave papermill waiting for ever: none where HEADLESS is set.
ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
ENVIRONMENT |= {"MALLOC_TOP_PAD_": str(64 * 2**20), "OMP_WAIT_POLICY": "PASSIVE", "HEADLESS": "1"}
ENVIRONMENT |= {"OPENBLAS_NUM_THREADS": "1"}
WIDGET = "application/vnd.jupyter.widget-view+json"
TOLERANCE = 0.02  # of a table's numbers on another processor, absolute plus relative
Jobs = int | str | None  # processes, or a Dask scheduler's address
# What may replace a default of each kind (a text such as "all": a list too); None and JOBS pass.
KINDS = {k: (k,) for k in (int, bool, list, dict)} | {float: (float, int), str: (str, list)}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


class NotebookError(ValueError):
    """A notebook stopped; the message names its cell and says why."""


class ThisPython(AsyncKernelManager):
    """A kernel of the running interpreter, whatever kernels the machine has registered."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel's command line and environment; `lib` is the one next to this module."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        launch += [f"--IPKernelApp.exec_lines={TEXT_BARS}", "--IPKernelApp.log_level=CRITICAL"]
        return KernelSpec(argv=launch, env=ENVIRONMENT | {"PYTHONPATH": path})


def parameters(notebook: Path, profile: str) -> dict[str, object]:
    """Return the parameters that a profile sets in a notebook; a bad profile is a ValueError."""
    declared = _declared(notebook)
    chosen = {"PROFILE": profile} if "PROFILE" in declared else {}
    if profile == "sample":
        return chosen
    path = (folder := ROOT / "profiles") / f"{profile}.yaml"
    known = ["sample", *sorted(p.stem for p in folder.glob("*.yaml"))]
    if profile not in known:
        raise FileNotFoundError(f"No profile {path}; profiles there: {', '.join(known)}")
    sections = read_yaml(path.read_bytes(), str(path)) or {}
    good = isinstance(sections, dict) and all(isinstance(s, dict | None) for s in sections.values())
    if not good or not all(re.fullmatch(r"'(common|\d\d)'", repr(key)) for key in sections):
        rule = "is common or a quoted notebook number such as '01', and holds parameters"
        raise ValueError(f"{path}: each section {rule}")
    number = notebook.name[:2]
    shared, own = (sections.get(key) or {} for key in ("common", number))
    _check_declared(own, declared, f"{path}, section '{number}'", notebook)
    return chosen | {name: v for name, v in shared.items() if name in declared} | own


def _check_declared(chosen: dict, declared: dict, where: str, notebook: Path) -> None:
    if unknown := ", ".join(sorted(map(str, chosen.keys() - declared.keys()))):
        known = f"it declares {', '.join(declared)}"
        raise ValueError(f"{where}: {notebook.name} declares no parameter {unknown}; {known}")
    for name, value in chosen.items():
        try:
            default = literal_eval(declared[name]["default"])
        except (ValueError, SyntaxError):  # computed: of a kind that isn't known yet
            continue
        good = (*KINDS.get(type(default), (type(value),)), type(None))
        if type(value) not in good and name != "JOBS":
            raise ValueError(f"{where}: {name} must be like {default!r}, not {value!r}")


def _declared(notebook: Path) -> dict:
    """Return the parameters that a notebook declares; a ValueError names one that is damaged."""
    notebook.read_bytes()  # an OSError of the disk is not the file's fault
    try:
        nbformat.validate(nbformat.read(notebook, 4))
        return papermill.inspect_notebook(notebook)
    except Exception as error:  # the libraries raise what they stumble over
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"{notebook} is no whole notebook ({why}); mend it") from error


def execute(notebook: Path, output: Path, chosen: dict[str, object], bar: bool = True) -> None:
    """Execute a notebook in its own folder and leave the executed copy at `output`, atomically.

    While it runs, and after a kill, the copy is ``NN_title.running.ipynb``; after a failure it is
    ``NN_title.failed.ipynb``, and a NotebookError names the cell. `bar` counts the cells.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    running, failed = (output.with_suffix(f".{s}.ipynb") for s in ("running", "failed"))
    kernel = {"kernel_name": "python3", "language": "python", "kernel_manager_class": ThisPython}
    streams = {"stdout_file": sys.stdout, "stderr_file": sys.stderr, "progress_bar": bar}
    source, made_from = notebook.resolve(), _newest(notebook, output)
    # papermill takes braces in a path for parameters to fill in
    paths = [str(p).translate({123: "{{", 125: "}}"}) for p in (source, running.resolve())]
    try:
        papermill.execute_notebook(*paths, chosen, cwd=source.parent, **kernel, **streams)
    except (PapermillExecutionError, DeadKernelError) as error:
        running.replace(failed)
        cell, why = "", "its kernel died, most often for lack of memory; try smaller sizes or JOBS"
        if isinstance(error, PapermillExecutionError):
            sources = [cell.source for cell in nbformat.read(notebook, 4).cells]
            number = sources.index(error.source) + 1 if error.source in sources else "of parameters"
            cell, why = f" in cell {number}", f"{error.ename}: {error.evalue}"
        text = f"{notebook.name} failed{cell}; the copy is kept as {failed}\n{why}"
        raise NotebookError(text) from error
    # As old as what it was made from, not the clock: an edit made during the run is newer.
    os.utime(running, (made_from + 1e-3,) * 2)
    running.replace(output)
    failed.unlink(missing_ok=True)


def _newest(notebook: Path, output: Path) -> float:
    """Return the time of the newest file that, to make, a result depends on."""
    files = [notebook, ROOT / "requirements.txt", output.with_name(".inputs")]
    files += (p for part in ("lib", "profiles", "weights") for p in (ROOT / part).rglob("[!.]*"))
    return max(p.stat().st_mtime for p in files if p.is_file() and "__pycache__" not in p.parts)


def run(
    notebooks: Sequence[Path], profile: str, folder: Path, overrides: dict, jobs: Jobs = None
) -> None:
    """Execute notebooks with a profile's parameters into a folder, and report the time it took."""
    for place in (folder, figures_dir(profile), cache_dir()):
        there = next(p for p in (place, *place.absolute().parents) if p.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            how = "see --output, FIGURES_DIR and CACHE_DIR"
            raise PermissionError(f"nothing can be written into {place}; {how}")
    every = {}
    for notebook in notebooks:  # all of them, before the first hour of work
        declared = _declared(notebook)
        _check_declared(overrides, declared, "--set", notebook)
        spread = {"JOBS": jobs} if jobs is not None and "JOBS" in declared else {}
        every[notebook] = parameters(notebook, profile) | spread | overrides
        if (folder / notebook.name).resolve() == notebook.resolve():
            raise ValueError(f"{notebook} would be overwritten; choose another --output")
    for notebook, chosen in every.items():
        print(f"{notebook.name}, {profile} profile", flush=True)
        start, output = time.monotonic(), folder / notebook.name
        execute(notebook, output, chosen)
        seconds = time.monotonic() - start
        print(f"{notebook.name} done in {seconds:.0f} s: {os.path.relpath(output)}", flush=True)


def refresh(notebook: Path, executed: Path) -> None:
    """Store the outputs of an executed copy in the notebook itself, as they are to be committed.

    The cell that papermill injected goes, counts run from 1, and whatever differs from run to run
    goes too: times, widgets, and the standard error stream with its progress bars.
    """
    if not executed.is_file():
        raise FileNotFoundError(f"No executed copy {executed}; run `make reproduce` first")
    for path in (notebook, executed):
        _declared(path)  # whole
    source, ran = (nbformat.read(path, 4) for path in (notebook, executed))
    ran.cells = [c for c in ran.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    if [c.source for c in ran.cells] != [c.source for c in source.cells]:
        raise ValueError(f"{notebook.name} has changed since it was executed; run `make reproduce`")
    ran.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in ran.cells:
        cell.metadata = {"tags": tags} if (tags := cell.metadata.get("tags")) else {}
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor  # half a second, as pandas

    for count, cell in enumerate((c for c in ran.cells if c.cell_type == "code"), 1):
        lasting = [o for o in cell.outputs if o.get("name") != "stderr"]
        cell.outputs = [o for o in lasting if WIDGET not in o.get("data", {})]
        cell.execution_count = count
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, count)  # they split at any time
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    scratch = notebook.with_suffix(".refreshing")
    nbformat.write(ran, scratch)
    shutil.copystat(notebook, scratch)  # its source is as old as before: make need not rerun it
    scratch.replace(notebook)


def verify(notebooks: Sequence[Path], profile: str, jobs: Jobs, partial: bool) -> bool:
    """Run notebooks with an empty cache in a scratch folder; compare every CSV with what stands.

    Byte for byte, if processor, platform and packages are those that made the committed ones; else
    to within `TOLERANCE` (float32 sums go another way; trained networks drift the furthest).
    `partial`: only some notebooks run, and a committed table that is not made again is no fault.
    """
    committed, scratch = figures_dir(profile), ROOT / "build" / "verify" / profile
    shutil.rmtree(scratch, ignore_errors=True)
    os.environ["FIGURES_DIR"] = str(scratch / "figures")
    os.environ["CACHE_DIR"] = str(scratch / "cache")
    run(notebooks, profile, scratch, {}, jobs)
    made = figures_dir(profile)
    old, new = ({p.name for p in folder.glob("[!.]*.csv")} for folder in (committed, made))
    names = sorted(new if partial else old | new)
    same, different, absent = filecmp.cmpfiles(committed, made, names, shallow=False)
    alike = _machines(made).items() <= _machines(committed).items()
    near = [n for n in different if not alike and _near(committed / n, made / n)]
    for name in names:
        print(f"{'ok' if name in same else 'near' if name in near else 'differs':8}{name}")
    if not alike:
        print(f"made on another machine or by other packages: near is within {TOLERANCE}")
    for name in different:
        texts = [(f / name).read_bytes().decode(errors="replace") for f in (committed, made)]
        lines = zip_longest(*(text.splitlines(keepends=True) for text in texts))
        number, (was, now) = next((n, pair) for n, pair in enumerate(lines, 1) if len({*pair}) > 1)
        print(f"  {name}, line {number}: committed {was!r}, now {now!r}")
    for name in absent:
        print(f"  {name}: {'not committed' if name in new else 'not made again'}")
    return bool(names) and len(same) + len(near) == len(names)


def _machines(figures: Path) -> dict[str, list]:
    """Say by what each result of a folder was computed."""
    path = figures / "provenance.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {k: [v.get(f) for f in ("platform", "processor", "packages")] for k, v in found.items()}


def _near(old: Path, new: Path) -> bool:
    """Say if two tables have the same rows, columns and words, and numbers within `TOLERANCE`."""
    import pandas as pd

    far = {"rtol": TOLERANCE, "atol": TOLERANCE, "check_dtype": False}
    try:
        pd.testing.assert_frame_equal(pd.read_csv(old), pd.read_csv(new), **far)
    except AssertionError:
        return False
    return True
