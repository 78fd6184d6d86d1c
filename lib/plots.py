"""The project's one style of figure, and the few plots that more than one notebook draws."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import display

from lib.paths import figures_dir
from lib.store import write_atomically


def set_style() -> None:
    """Use the project's one style: seaborn's paper context and a colour-blind-safe palette."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind")
    mpl.rcParams.update({"figure.dpi": 100, "savefig.dpi": 200, "savefig.bbox": "tight"})
    mpl.rcParams.update({"pdf.fonttype": 42, "axes.titlesize": "medium"})  # text stays text


def save_figure(figure: plt.Figure, name: str, profile: str, stamp: str) -> None:
    """Write `name`.png and `name`.pdf, without dates: equal figures are equal files.

    The stamp, printed underneath, says which profile, data, weights and number of images made it.
    """
    figure.draw_without_rendering()  # a constrained layout is only settled by drawing
    below = figure.get_tightbbox().y0 / figure.get_figheight()  # in shares of the figure's height
    figure.text(0.5, below - 0.01, stamp, ha="center", va="top", fontsize=7, color="0.35")
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        path = figures_dir(profile) / f"{name}{suffix}"
        write_atomically(path, lambda p, m=metadata: figure.savefig(p, metadata=m))


def show_row(
    axes: Sequence[plt.Axes], images: Sequence[np.ndarray], titles: Sequence[str] | None = None
) -> None:
    """Show pictures (HxWx3 uint8) or maps (HxW, each on its own scale) along a row of axes."""
    for index, (axis, image) in enumerate(zip(axes, images, strict=True)):
        axis.imshow(image, cmap=None if image.ndim == 3 else "inferno", interpolation="bilinear")
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        if titles is not None:
            axis.set_title(titles[index])


def draw_flow(boxes: Mapping[str, tuple[float, float]], arrows: Sequence[tuple[str, str]]) -> None:
    """Draw a process: boxes at (column, row), rows downwards, and arrows from box to box."""
    columns, rows = (max(place[k] for place in boxes.values()) + 1 for k in (0, 1))
    figure, axis = plt.subplots(figsize=(1.75 * columns, 0.75 * rows))
    style = {"boxstyle": "round,pad=0.45", "facecolor": "#eef3f8", "edgecolor": "0.55"}
    drawn = {
        text: axis.text(x, -y, text, ha="center", va="center", fontsize=8, bbox=style)
        for text, (x, y) in boxes.items()
    }
    axis.set(xlim=(-0.6, columns - 0.4), ylim=(0.6 - rows, 0.6))
    axis.set_axis_off()
    figure.draw_without_rendering()  # arrows end at boxes, whose size is known only now
    for start, end in arrows:
        ends = {"arrowstyle": "-|>", "color": "0.35", "shrinkA": 2, "shrinkB": 2}
        ends |= {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        (x0, y0), (x1, y1) = boxes[start], boxes[end]
        axis.annotate("", (x1, -y1), (x0, -y0), arrowprops=ends)
    plt.show()


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
    methods, stages = (list(tidy[c].drop_duplicates()) for c in ("method", "stage"))
    size = (2.6 * len(metrics) + 1.2, 0.3 * len(methods) + 0.9)
    figure, axes = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        for number, stage in enumerate(stages):
            part = tidy[(tidy.metric == metric) & (tidy.stage == stage)].set_index("method")
            part = part.loc[methods]
            place = np.arange(len(methods)) + 0.24 * (number - (len(stages) - 1) / 2)
            reach = [part.value - part.low, part.high - part.value]
            axis.errorbar(part.value, place, xerr=reach, fmt="o", markersize=4, label=stage)
            if number == 0:
                axis.axvline(part.value[reference], color="0.5", linewidth=0.8, linestyle="--")
        better = "smaller" if metric in lower_is_better else "larger"
        axis.set_xlabel(f"{metric} ({better} is better)")
    axes[0, 0].set_yticks(range(len(methods)), methods)
    axes[0, 0].invert_yaxis()
    where = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False}
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=len(stages), **where)
    figure.tight_layout()
    return figure


class LiveLog:
    """Draw a training log in a notebook, epoch by epoch, in one place."""

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
