"""One style of figure, one color and name a thing, and plots that more than one notebook draws."""

import pickle
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns

from lib.paths import figures_dir
from lib.records import OPENED
from lib.report import commit
from lib.store import write_atomically

BLUE, ORANGE, GREEN, RED, PINK, TAN, _, _, _, SKY = sns.color_palette("colorblind").as_hex()
COLORS = {"saliency": BLUE, "GradCAM": ORANGE, "fixations": SKY, "patches": "0.3", "chance": "0.7"}
COLORS |= dict.fromkeys(("baseline-lite0", "baseline-b0", "Baseline", "Baseline, one pass"), ORANGE)
COLORS |= dict.fromkeys(("Baseline-Sal-Loss", "Baseline-GradCAM-Loss"), GREEN)
COLORS |= {"baseline-lite1": RED, "baseline-resnet50": RED}  # what has no color of its own is gray
COLORS |= {"another's saliency": TAN, "p132": TAN, "p220": PINK, "p310": "indigo"}
LABELS = {f"baseline-lite{k}": f"quality model lite{k}, 3,159 photographs" for k in (0, 1)}
LABELS |= {"CenterPrior": "centre prior", "none": "plain codec", "piqe": "PIQE"}
LABELS |= {"baseline-b0": "quality model B0", "baseline-resnet50": "quality model ResNet50"}
LABELS |= {"control-synthetic": "synthetic distortions only"}
for _name in ("Lite0 read-out (ours)", "Lite0 read-out (ours), cross-validated", "saliency-lite0"):
    COLORS[_name], LABELS[_name] = BLUE, "saliency predictor (ours)"


def set_style() -> None:
    """Use the project's one style: seaborn's paper context and a colour-blind-safe palette."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind")
    mpl.rcParams.update({"figure.dpi": 100, "savefig.dpi": 200, "savefig.bbox": "tight"})
    mpl.rcParams.update({"pdf.fonttype": 42, "axes.titlesize": "medium"})  # text stays text


def stamp(figure: plt.Figure, text: str) -> None:
    """Print underneath which profile, data, weights and number of images made a figure."""
    figure.draw_without_rendering()  # a constrained layout is only settled by drawing
    below = (figure.get_tightbbox().y0 - 0.05) / figure.get_figheight()  # in shares of the height
    text = textwrap.fill(text, int(17 * figure.get_figwidth()))
    figure.text(0.5, below, text, ha="center", va="top", fontsize=7, color="0.35")


def save_figure(figure: plt.Figure, name: str, profile: str, text: str, column: float = 0) -> None:
    """Write `name`.png and `name`.pdf, without dates: equal figures are equal files.

    The text is its `stamp`, and in the files' metadata beside commit and fingerprints of the data.
    `column`: the height in inches of a second figure for a paper's column.
    """
    if column:
        plt.close(narrow := pickle.loads(pickle.dumps(figure)))
        narrow.set_size_inches(3.4, column)
        plt.setp(narrow.findobj(mpl.text.Text), fontsize=6.5)
        for line in narrow.findobj(plt.Line2D):
            line.set(markersize=0.6 * line.get_markersize(), linewidth=0.7 * line.get_linewidth())
        save_figure(narrow, f"{name}_column", profile, text)
    stamp(figure, text)
    made = f"commit {commit()}; data {', '.join(sorted(OPENED))}"
    png = {"Software": None, "Title": name, "Description": text, "Source": made}
    pdf = {"CreationDate": None, "Title": name, "Subject": text, "Keywords": made}
    for suffix, metadata in ((".png", png), (".pdf", pdf)):
        path = figures_dir(profile) / f"{name}{suffix}"
        write_atomically(path, lambda p, m=metadata: figure.savefig(p, metadata=m))


def show_row(axes: Sequence[plt.Axes], images: Sequence, titles: Sequence[str] = ()) -> None:
    """Show pictures (HxWx3 uint8) or maps (HxW, each on its own scale) along a row of axes."""
    for axis, image, title in zip(axes, images, titles or [""] * len(images), strict=True):
        axis.imshow(image, cmap="inferno", interpolation="bilinear")  # pictures keep their colors
        axis.set(xticks=[], yticks=[], title=title)


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
