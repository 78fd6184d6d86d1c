"""Results on disk: a tidy CSV first, then Markdown beside the paper's values, and what made them.

Every file goes to ``figures/<profile>/``; `provenance.json` beside them says what made each.
"""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from torch.backends.cpu import get_cpu_capability

from lib.paths import ROOT, figures_dir
from lib.store import write_atomically

PACKAGES = ("torch", "torchvision", "timm", "grad-cam", "pyiqa", "numpy", "scipy", "pandas")
PLAIN = (str, int, float, list, dict, type(None))  # what a parameter can be
MARKS = {1: "**{:.3f}**", 2: "<u>{:.3f}</u>", 3: "*{:.3f}*"}  # best of a column, as in the paper


def require(holds: bool, otherwise: str) -> None:
    """Stop with a sentence that says what to do, unless a parameter is as it must be."""
    if not holds:
        raise ValueError(otherwise)


def paper_table(name: str, **ours: str) -> pd.DataFrame:
    """Read one of the paper's tables (`table1`, `table2`, `table3`), methods named as `ours` are.

    TranSalNet's row is there for both variants: the paper doesn't say which it took.
    """
    table = pd.read_csv(ROOT / "lib" / "paper" / f"{name}.csv")
    names = {"MSINet": "MSI-Net", "TranSalNet": ["TranSalNet-Res", "TranSalNet-Dense"], **ours}
    table["method"] = [names.get(method, method) for method in table.method]
    return table.explode("method", ignore_index=True)


def beside_paper(
    tidy: pd.DataFrame, printed: pd.DataFrame, columns: Mapping[tuple[str, str], str]
) -> pd.DataFrame:
    """Add the column `paper` to a tidy table.

    `printed` is the paper's table, its methods named as ours; `columns` leads from (stage, metric)
    to its column of the same measure. A table without stages has the stage "".
    """
    values = printed.melt("method").set_index(["method", "variable"]).value
    stages = tidy.stage if "stage" in tidy else [""] * len(tidy)
    found = map(columns.get, zip(stages, tidy.metric, strict=True))
    cells = zip(tidy.method, found, strict=True)
    return tidy.assign(paper=[values.get(cell, np.nan) for cell in cells])


def wide_table(tidy: pd.DataFrame, lower_is_better: Sequence[str] = ()) -> pd.DataFrame:
    """Turn tidy rows into the paper's layout: a row a method, the paper's value beside ours.

    `tidy`: method, metric, value; `std` (over repeats), else `low`, `high`; any group and paper.
    """
    index = [c for c in ("group", "method") if c in tidy]
    rows = tidy[index].drop_duplicates().reset_index(drop=True)
    for metric in tidy.metric.drop_duplicates():
        part = rows.merge(tidy[tidy.metric == metric], how="left", on=index)
        lower = metric in lower_is_better
        part["rank"] = part.value.rank(ascending=lower, method="min")
        rows[f"{metric} {'↓' if lower else '↑'}"] = [_cell(row) for _, row in part.iterrows()]
        if "paper" in part and part.paper.notna().any():
            rows[f"{metric}, paper"] = ["" if np.isnan(v) else f"{v:.3f}" for v in part.paper]
    return rows


def _cell(row: pd.Series) -> str:
    """Write one value, marked by its rank, with what is known of its spread."""
    if np.isnan(row.value):
        return ""
    text = MARKS.get(row["rank"], "{:.3f}").format(row.value)
    if "std" in row:
        return text if np.isnan(row["std"]) else f"{text} ± {row['std']:.3f}"
    return text if np.isnan(row.low) else f"{text} [{row.low:.3f}, {row.high:.3f}]"


def markdown(rows: pd.DataFrame, digits: int = 3) -> str:
    """Write a table in Markdown: numbers to `digits` decimals, tiny p-values as a bound."""
    text, least = rows.astype(str), 10.0**-digits
    for name, column in rows.select_dtypes("float").items():
        text[name] = ["" if np.isnan(v) else f"{v:.{digits}f}" for v in column]
        if str(name).startswith("p_"):
            text[name] = text[name].mask(column < least, f"< {least}")
    return text.to_markdown(index=False, disable_numparse=True)


def save_rows(rows: pd.DataFrame, name: str, profile: str) -> Path:
    """Write a table as `name`.csv, to six decimals, so that equal results are equal bytes."""
    path = figures_dir(profile) / f"{name}.csv"
    write_atomically(path, lambda p: rows.to_csv(p, index=False, float_format="%.6f"))
    return path


def save_table(
    tidy: pd.DataFrame,
    name: str,
    profile: str,
    caption: str,
    lower_is_better: Sequence[str] = (),
    parts: str | None = None,
) -> str:
    """Write `name`.csv (tidy) and `name`.md (the paper's layout, see `wide_table`).

    The caption says which data, weights, number of images and interval. `parts` is a column whose
    values split the Markdown, which is returned, into one block each ("stage"). A value that is
    not finite is a ValueError: a missing result must be a missing row, with its reason.
    """
    bad = tidy.loc[~np.isfinite(tidy.value), ["method", "metric"]]
    require(bad.empty, f"{name} has no finite value for {bad.head(1).to_numpy().tolist()}")
    text = [caption, ""]
    for title, block in [(None, tidy)] if parts is None else tidy.groupby(parts, sort=False):
        text += [] if title is None else [f"**{title}**", ""]
        text += [markdown(wide_table(block, lower_is_better)), ""]
    path = figures_dir(profile) / f"{name}.md"
    write_atomically(path, lambda p: p.write_text("\n".join(text), encoding="utf-8"))
    save_rows(tidy, name, profile)
    return "\n".join(text[2:])


def save_provenance(result: str, profile: str, names: Mapping, data: Mapping[str, str]) -> None:
    """Add to `provenance.json` what made a result: versions, parameters, fingerprints, commit.

    `names` is a notebook's `globals()`, whose parameters are the names in capitals; `data` holds
    the fingerprints of data sets and weights.
    """
    made = {
        "commit": commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": get_cpu_capability(),  # which instructions torch uses: other ones round others
        "packages": {name: version(name) for name in PACKAGES},
        "parameters": {k: v for k, v in names.items() if k.isupper() and isinstance(v, PLAIN)},
        "fingerprints": dict(data),
    }
    path = figures_dir(profile) / "provenance.json"
    with FileLock(path.with_name(".provenance.lock")):  # another run may add to it too
        try:
            everything = dict(json.loads(path.read_bytes() if path.exists() else "{}"))
        except (ValueError, TypeError):
            print(f"{path} was damaged: begun anew; `make -B reproduce` adds the other results")
            everything = {}
        everything[result] = made
        text = json.dumps(everything, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def commit() -> str:
    """Return the last commit that touched code or weights (results may change), and if edited."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words, "--", "lib", "profiles", "weights"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        last = git("log", "-1", "--format=%H")
        return f"{last} with uncommitted edits" if git("status", "--porcelain") else last
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
