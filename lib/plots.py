"""The project's one style of figure, and the few plots that more than one notebook draws."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

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
    for axis, image, title in zip(axes, images, titles or [""] * len(images), strict=True):
        axis.imshow(image, cmap=None if image.ndim == 3 else "inferno", interpolation="bilinear")
        axis.set(xticks=[], yticks=[], title=title)
        axis.grid(False)


def draw_flow(boxes: Mapping[str, tuple[float, float]], arrows: Sequence[tuple[str, str]]) -> None:
    """Draw a process: boxes at (column, row), rows downwards, and arrows from box to box."""
    columns, rows = (max(place[k] for place in boxes.values()) + 1 for k in (0, 1))
    figure, axis = plt.subplots(figsize=(1.75 * columns, 0.75 * rows))
    axis.set(xlim=(-0.6, columns - 0.4), ylim=(rows - 0.4, -0.6))
    axis.set_axis_off()
    style = {"boxstyle": "round,pad=0.45", "facecolor": "#eef3f8", "edgecolor": "0.55"}
    style = {"ha": "center", "va": "center", "fontsize": 8, "bbox": style}
    drawn = {text: axis.text(*place, text, **style) for text, place in boxes.items()}
    figure.draw_without_rendering()  # arrows end at boxes, whose size is known only now
    for start, end in arrows:
        ends = {"arrowstyle": "-|>", "color": "0.35", "shrinkA": 2, "shrinkB": 2}
        ends |= {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        axis.annotate("", boxes[end], boxes[start], arrowprops=ends)
    plt.show()
