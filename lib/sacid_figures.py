"""The figures of notebook 04: where the bits went, and what people said of it."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter

from lib import codec
from lib.codec import Codec
from lib.data.sacid import SACID
from lib.report import show_row

MARKS = {"gains most": "tab:orange", "loses most": "tab:cyan"}


def plot_examples(sacid: SACID, sequences: Sequence[str], bpp: float, preset: str) -> plt.Figure:
    """Show references, saliency, QP offsets, and crops of all presets at one rate.

    The two crops of a photograph are where a preset gains most on the plain codec (within the most
    salient quarter) and where it loses most (outside): chosen by squared error, not by eye.

    Parameters
    ----------
    sacid : SACID
        The tree.
    sequences : sequence of str
        Photographs to show.
    bpp : float
        Target rate of the decoded pictures.
    preset : str
        The one whose offsets are drawn and whose gains choose the crops.
    """
    presets = list(codec.PRESETS)
    figure = plt.figure(figsize=(11, 1.95 * len(sequences)), layout="constrained")
    grid = figure.add_gridspec(2 * len(sequences), 8, width_ratios=[2, 2, 2.2, *[1] * 5])
    for number, sequence in enumerate(sequences):
        rows = slice(2 * number, 2 * number + 2)
        reference, saliency = sacid.reference(sequence), sacid.saliency_map(sequence)
        decoded = {p: sacid[_index(sacid, sequence, bpp, p)].image for p in presets}
        offsets = Codec(reference, saliency).offsets(preset)
        left = [figure.add_subplot(grid[rows, column]) for column in range(3)]
        show_row(left[:2], [reference, saliency], ["reference", "saliency"])
        _show_offsets(figure, left[2], offsets.grid, f"QP offsets, {preset}")
        places = crop_places(reference, decoded["none"], decoded[preset], saliency)
        for row, (mark, place) in enumerate(places.items()):
            y, x = place[0].start, place[1].start
            side = place[0].stop - y
            box = Rectangle((x, y), side, side, fill=False, edgecolor=MARKS[mark], linewidth=2)
            left[0].add_patch(box)
            crops = {"reference": reference, **decoded}
            for column, (name, picture) in enumerate(crops.items(), start=3):
                axis = figure.add_subplot(grid[2 * number + row, column])
                show_row([axis], [picture[place]])
                for spine in axis.spines.values():
                    spine.set(edgecolor=MARKS[mark], linewidth=2)
                title = name if row == 0 else ""
                if name != "reference":
                    title += f"  {codec.psnr(reference[place], picture[place]):.1f} dB"
                axis.set_title(title.strip(), fontsize=7)
    return figure


def crop_places(
    reference: np.ndarray, plain: np.ndarray, aware: np.ndarray, saliency_map: np.ndarray
) -> dict[str, tuple[slice, slice]]:
    """Find the squares, a quarter of the short side, where a preset gains and loses most.

    Returns
    -------
    dict
        "gains most" (centred in the most salient quarter) and "loses most" (outside it) to a pair
        of slices.
    """
    side = max(1, min(reference.shape[:2]) // 4)
    errors = [((p.astype(np.float64) - reference) ** 2).mean(axis=2) for p in (plain, aware)]
    gain = uniform_filter(errors[0] - errors[1], side)
    salient = codec.most_salient(saliency_map)
    half, (height, width) = side // 2, gain.shape
    inner = np.zeros(gain.shape, bool)
    inner[half : height - side + half + 1, half : width - side + half + 1] = True
    places = {}
    for mark, value, where in (("gains most", gain, salient), ("loses most", -gain, ~salient)):
        allowed = inner & where if (inner & where).any() else inner
        best = np.argmax(np.where(allowed, value, -np.inf))
        y, x = (int(n) - half for n in np.unravel_index(best, gain.shape))
        places[mark] = (slice(y, y + side), slice(x, x + side))
    return places


def plot_offsets(coder: Codec, presets: Sequence[str]) -> plt.Figure:
    """Show the macroblock saliency of a picture and the QP offsets of presets, on one scale."""
    figure, axes = plt.subplots(1, len(presets) + 1, figsize=(10, 2), layout="constrained")
    show_row(axes[:1], [coder.saliency], ["saliency rank"])
    grids = [coder.offsets(preset).grid for preset in presets]
    reach = max(np.abs(grid).max() for grid in grids)
    for axis, preset, grid in zip(axes[1:], presets, grids, strict=True):
        _show_offsets(figure, axis, grid, f"QP offset, {preset}", reach)
    return figure


def plot_qps(asked: np.ndarray, coded: np.ndarray) -> plt.Figure:
    """Show the QPs asked for and those read back from the stream."""
    figure, axes = plt.subplots(1, 2, figsize=(6.5, 2), layout="constrained")
    for axis, qps, title in zip(axes, (asked, coded), ("asked for", "in the stream"), strict=True):
        drawn = axis.imshow(qps, cmap="viridis_r", vmin=asked.min(), vmax=asked.max())
        axis.set(title=f"QP {title}", xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(drawn, ax=axes, shrink=0.8)
    return figure


def plot_gains(gains: pd.DataFrame) -> plt.Figure:
    """Draw `lib.data.sacid.region_gains`: dB over the plain codec, a panel a region."""
    regions = ("inside", "outside", "whole")
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.4), sharey=True, layout="constrained")
    for axis, region in zip(axes, regions, strict=True):
        _draw_means(axis, gains[gains.region == region], "gain")
        axis.axhline(0, color="0.4", linewidth=0.8)
        title = {"whole": "whole picture", "inside": "inside the salient quarter"}
        axis.set(title=title.get(region, "outside"), xlabel="bits per pixel")
    axes[0].set_ylabel("PSNR gain on none, dB")
    axes[-1].legend(frameon=False)
    return figure


def plot_published(summary: pd.DataFrame, gains: pd.DataFrame) -> plt.Figure:
    """Draw mean scores by preset and bitrate, and each sequence's mean gain on the plain codec.

    Parameters
    ----------
    summary, gains : DataFrame
        From `lib.subjective.summarize_scores` and `preset_gains`.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    _draw_means(axes[0], summary, "mean")
    axes[0].set(xlabel="bits per pixel", ylabel="subjective score", title="mean of 60 sequences")
    axes[0].legend(frameon=False, title="preset")
    overall = gains[gains.bitrate == "all bitrates"]
    colors = dict(zip(codec.PRESETS, sns.color_palette(), strict=False))
    for preset, block in overall.groupby("preset"):
        gain = np.sort(block.gain)[::-1]
        label = f"{preset}: {int((gain > 0).sum())} of {len(gain)} above 0"
        axes[1].plot(np.arange(1, len(gain) + 1), gain, ".-", color=colors[preset], label=label)
    axes[1].axhline(0, color="0.4", linewidth=0.8)
    title = "each sequence, mean of three bitrates"
    axes[1].set(xlabel="sequences, sorted", ylabel="gain on none", title=title)
    axes[1].legend(frameon=False)
    return figure


def plot_recovery(scored: pd.DataFrame, utilities: pd.DataFrame) -> plt.Figure:
    """Draw fitted scores with 95 % intervals over the utilities behind the votes."""
    figure, axis = plt.subplots(figsize=(4, 3), layout="constrained")
    for color, (sequence, block) in zip(
        sns.color_palette("husl", scored.sequence.nunique()),
        scored.groupby("sequence"),
        strict=True,
    ):
        block = block.set_index("test_case")
        truth = utilities.loc[sequence, block.index]
        truth = truth - truth[block.subjective_score.idxmin()]
        reach = (block.high - block.low) / 2
        axis.errorbar(truth, block.subjective_score, reach, fmt="o", markersize=3, color=color)
    ends = axis.get_xlim()
    axis.plot(ends, ends, color="0.4", linewidth=0.8, linestyle="--", zorder=0)
    axis.set(xlabel="utility, from the scored worst", ylabel="score from votes")
    return figure


def _draw_means(axis: plt.Axes, table: pd.DataFrame, value: str) -> None:
    colors = dict(zip(codec.PRESETS, sns.color_palette(), strict=False))
    for number, (preset, block) in enumerate(table.groupby("preset")):
        reach = [block[value] - block.low, block.high - block[value]]
        place = block.bpp + 0.0015 * (number - 1.5)  # side by side
        axis.errorbar(
            place, block[value], reach, fmt="o-", markersize=4, color=colors[preset], label=preset
        )
    axis.set_xticks(sorted(table.bpp.unique()))


def _show_offsets(
    figure: plt.Figure, axis: plt.Axes, grid: np.ndarray, title: str, reach: float = 0.0
) -> None:
    reach = max(1.0, reach, np.abs(grid).max())
    drawn = axis.imshow(grid, cmap="RdBu", vmin=-reach, vmax=reach)
    axis.set(title=title, xticks=[], yticks=[])
    axis.grid(False)
    figure.colorbar(drawn, ax=axis, shrink=0.7, pad=0.02)


def _index(sacid: SACID, sequence: str, bpp: float, preset: str) -> int:
    name = f"{sequence}/h264v@targetbbp100={round(100 * bpp)}_preset={preset}"
    return sacid.names.index(name)
