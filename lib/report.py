"""Tables and figures on disk: a tidy CSV first, then Markdown and LaTeX beside the paper's values.

Every file goes to ``figures/<profile>/``; `provenance.json` beside them says what made each.
"""

import json
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import display

from lib.cache import write_atomically
from lib.paths import ROOT, figures_dir

PAPER_TABLES = ROOT / "lib" / "paper"
PACKAGES = ("torch", "torchvision", "timm", "grad-cam", "pyiqa", "numpy", "scipy", "pandas")


def set_style() -> None:
    """Use the project's one style: seaborn's paper context and a colour-blind-safe palette."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind")
    mpl.rcParams.update(
        {
            "figure.dpi": 100,
            "savefig.dpi": 200,
            "savefig.bbox": "tight",
            "pdf.fonttype": 42,  # text stays text
            "axes.titlesize": "medium",
        }
    )


def stamp(figure: plt.Figure, text: str) -> None:
    """Print under a figure which profile, data, weights and number of images made it."""
    figure.draw_without_rendering()  # a constrained layout is only settled by drawing
    below = figure.get_tightbbox().y0 / figure.get_figheight()  # in shares of the figure's height
    figure.text(0.5, below - 0.01, text, ha="center", va="top", fontsize=7, color="0.35")


def save_figure(figure: plt.Figure, name: str, profile: str) -> list[Path]:
    """Write `name`.png and `name`.pdf, without dates, so that equal figures are equal files."""
    folder = figures_dir(profile)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        path = folder / f"{name}{suffix}"
        write_atomically(path, lambda p, m=metadata: figure.savefig(p, metadata=m))
        paths.append(path)
    return paths


def paper_table(name: str) -> pd.DataFrame:
    """Read one of the paper's tables (`table1`, `table2`, `table3`) as printed there."""
    path = PAPER_TABLES / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"no table of the paper at {path}")
    return pd.read_csv(path)


def rank_marks(values: Sequence[float], lower_is_better: bool) -> list[int]:
    """Return 1, 2, 3 for the best, second and third of a column and 0 for the rest (ties share).

    The paper prints them bold, underlined and italic.
    """
    column = pd.Series(values, dtype=float)
    ranks = column.rank(ascending=lower_is_better, method="min")
    return [int(r) if r <= 3 else 0 for r in ranks.fillna(99)]


def _mark(text: str, rank: int, markup: str) -> str:
    if markup == "latex":
        return [text, rf"\textbf{{{text}}}", rf"\underline{{{text}}}", rf"\textit{{{text}}}"][rank]
    return [text, f"**{text}**", f"<u>{text}</u>", f"*{text}*"][rank]


def wide_table(
    tidy: pd.DataFrame, lower_is_better: Sequence[str] = (), markup: str = "markdown"
) -> pd.DataFrame:
    """Turn tidy rows into the paper's layout: a row a method, ours and the paper's side by side.

    Parameters
    ----------
    tidy : DataFrame
        Columns group, method, metric, value; `std` (over repeats), else `low` and `high`; and,
        where the paper has a value, paper.
    lower_is_better : sequence of str
        Metrics in which the smallest value wins.
    markup : {"markdown", "latex"}
        How to print best, second and third.
    """
    rows = tidy[["group", "method"]].drop_duplicates().reset_index(drop=True)
    space = r"\," if markup == "latex" else " "
    plus_minus = r"$\pm$" if markup == "latex" else "±"
    for metric in tidy.metric.drop_duplicates():
        part = rows.merge(tidy[tidy.metric == metric], how="left", on=["group", "method"])
        marks = rank_marks(part.value, metric in lower_is_better)
        arrow = {"latex": (r"$\downarrow$", r"$\uparrow$")}.get(markup, ("↓", "↑"))
        title = f"{metric} {arrow[0] if metric in lower_is_better else arrow[1]}"
        if "std" in part:
            spread = ["" if np.isnan(s) else f"{plus_minus}{space}{s:.3f}" for s in part["std"]]
        else:
            spread = [
                f"[{low:.3f}, {high:.3f}]" for low, high in zip(part.low, part.high, strict=True)
            ]
        rows[title] = [
            "" if np.isnan(v) else f"{_mark(f'{v:.3f}', m, markup)}{space * bool(around)}{around}"
            for v, m, around in zip(part.value, marks, spread, strict=True)
        ]
        if "paper" in part and part.paper.notna().any():
            rows[f"{metric}, paper"] = ["" if np.isnan(v) else f"{v:.3f}" for v in part.paper]
            rows[f"{metric}, ours − paper"] = [
                "" if np.isnan(v) else f"{v:+.3f}" for v in part.value - part.paper
            ]
    return rows


def markdown(rows: pd.DataFrame, digits: int = 3) -> str:
    """Write a table in Markdown: numbers to `digits` decimals, tiny p-values as a bound."""
    text = pd.DataFrame(index=rows.index)
    least = 10.0**-digits
    for name, column in rows.items():
        if not pd.api.types.is_float_dtype(column):
            text[name] = column.astype(str)
        elif str(name).startswith("p_"):
            text[name] = [f"< {least}" if v < least else f"{v:.{digits}f}" for v in column]
        else:
            text[name] = ["" if np.isnan(v) else f"{v:.{digits}f}" for v in column]
    return text.to_markdown(index=False, disable_numparse=True)


def save_text(text: str, name: str, profile: str) -> Path:
    """Write what a notebook concludes, in Markdown, as `name`.md."""
    path = figures_dir(profile) / f"{name}.md"
    write_atomically(path, lambda p: p.write_text(text.rstrip() + "\n", encoding="utf-8"))
    return path


def save_rows(rows: pd.DataFrame, name: str, profile: str) -> Path:
    """Write a table that has no counterpart in the paper as `name`.csv, to six decimals."""
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
) -> list[Path]:
    """Write `name`.csv (tidy), `name`.md and `name`.tex (the paper's layout).

    Parameters
    ----------
    tidy : DataFrame
        See `wide_table`; written to six decimals, so that equal results are equal bytes.
    caption : str
        Which data, weights, number of images and interval; printed with the table.
    parts : str, optional
        A column whose values split the table into one block each (for instance "before the map
        transforms" and "after").

    Raises
    ------
    ValueError
        If a value is NaN or infinite: a missing result must be a missing row, with its reason.
    """
    if not np.isfinite(tidy.value).all():
        bad = tidy.loc[~np.isfinite(tidy.value), ["method", "metric"]].iloc[0].tolist()
        raise ValueError(f"{name} has no finite value for {bad}; leave the row out")
    folder = figures_dir(profile)
    md, tex = (folder / f"{name}{suffix}" for suffix in (".md", ".tex"))
    blocks = [(None, tidy)] if parts is None else list(tidy.groupby(parts, sort=False))
    text, latex = [caption, ""], [f"% {caption}"]
    for title, block in blocks:
        if title is not None:
            text += [f"**{title}**", ""]
            latex += [f"% {title}"]
        text += [markdown(wide_table(block, lower_is_better)), ""]
        body = wide_table(block, lower_is_better, "latex")
        latex += [body.to_latex(index=False, escape=False)]
    write_atomically(md, lambda p: p.write_text("\n".join(text), encoding="utf-8"))
    write_atomically(
        tex, lambda p: p.write_text("\n".join(latex).replace("−", "$-$"), encoding="utf-8")
    )
    return [save_rows(tidy, name, profile), md, tex]


def save_provenance(result: str, profile: str, parameters: dict, data: dict[str, str]) -> Path:
    """Add to `provenance.json` what made a result: versions, parameters, fingerprints, commit."""
    path = figures_dir(profile) / "provenance.json"
    everything = json.loads(path.read_text()) if path.is_file() else {}
    everything[result] = {
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "parameters": parameters,
        "fingerprints": data,
    }
    text = json.dumps(everything, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))
    return path


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the last commit that touched code or weights, and whether they were edited since.

    Notebooks and figures hold results: committing those must not change what made them.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words, "--", "lib", "profiles", "weights"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("log", "-1", "--format=%H")
        return f"{commit} with uncommitted edits" if git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


class LiveLog:
    """Draw a training log in a notebook, epoch by epoch, in one place.

    Parameters
    ----------
    title : str
        What is being trained.
    """

    def __init__(self, title: str):
        self.title = title
        self._shown = None

    def __call__(self, log: Sequence[dict[str, float]]) -> None:
        """Draw the log so far: one row an epoch, with `epoch` and losses."""
        table = pd.DataFrame(log).set_index("epoch")
        figure, axis = plt.subplots(figsize=(4, 2.4))
        for name, line in table.items():
            axis.plot(line.index, line, "o-", markersize=4, label=str(name).replace("_", " "))
        axis.set(xlabel="epoch", ylabel="mean over batches", title=self.title, ylim=(0, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
        plt.close(figure)  # else the notebook shows it once more at the end of the cell
        if self._shown is None:
            self._shown = display(figure, display_id=True)
        else:
            self._shown.update(figure)


def plot_intervals(
    tidy: pd.DataFrame, metrics: Sequence[str], lower_is_better: Sequence[str], reference: str
) -> plt.Figure:
    """Plot means and 95 % intervals: a panel a metric, a row a method, a color a stage.

    Parameters
    ----------
    tidy : DataFrame
        Columns method, stage, metric, value, low, high.
    reference : str
        The method whose value, at the first stage, is drawn as a dashed line.
    """
    methods = list(tidy.method.drop_duplicates())
    stages = list(tidy.stage.drop_duplicates())
    size = (2.6 * len(metrics) + 1.2, 0.3 * len(methods) + 0.9)
    figure, axes = plt.subplots(1, len(metrics), figsize=size, sharey=True)
    for axis, metric in zip(axes, metrics, strict=True):
        for number, stage in enumerate(stages):
            part = tidy[(tidy.metric == metric) & (tidy.stage == stage)].set_index("method")
            part = part.loc[methods]
            axis.errorbar(
                part.value,
                np.arange(len(methods)) + 0.24 * (number - (len(stages) - 1) / 2),
                xerr=[part.value - part.low, part.high - part.value],
                fmt="o",
                markersize=4,
                label=stage,
            )
            if number == 0:
                axis.axvline(part.value[reference], color="0.5", linewidth=0.8, linestyle="--")
        axis.set_xlabel(
            f"{metric} ({'smaller' if metric in lower_is_better else 'larger'} is better)"
        )
    axes[0].set_yticks(range(len(methods)), methods)
    axes[0].invert_yaxis()
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(stages),
        frameon=False,
    )
    figure.tight_layout()
    return figure


def show_row(
    axes: Sequence[plt.Axes], images: Sequence[np.ndarray], titles: Sequence[str] | None = None
) -> None:
    """Show pictures (HxWx3 uint8) or maps (HxW, each on its own scale) along a row of axes."""
    for index, (axis, image) in enumerate(zip(axes, images, strict=True)):
        if image.ndim == 3:
            axis.imshow(image)
        else:
            axis.imshow(image, cmap="inferno", interpolation="bilinear")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        if titles is not None:
            axis.set_title(titles[index])
