"""An interactive panel for notebook 02: mask a picture, and see what a model makes of it."""

from collections.abc import Sequence

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np

from lib import report
from lib.images import network_size, resize_image
from lib.maps import resize_map
from lib.masking import FILLS, MAP_BLUR, PATCHES_OF_13, STRATEGIES, Filler, mask, relevance_ranks
from lib.models.zoo import Scorer
from lib.records import Record
from lib.sources import Source


def masking_panel(
    scorer: Scorer, records: Sequence[Record], sources: Sequence[Source], long_side: int
) -> widgets.VBox:
    """Return controls for image, map, strategy, fill and share above the masked picture.

    Every change scores the picture anew; the title says what it scored whole and masked.
    """
    image = widgets.Dropdown(
        options=[(r.name, i) for i, r in enumerate(records)], description="image"
    )
    source = widgets.Dropdown(
        options=[(s.method, i) for i, s in enumerate(sources)], description="map"
    )
    strategy = widgets.ToggleButtons(options=STRATEGIES, description="strategy")
    fill = widgets.Dropdown(options=FILLS, description="fill")
    share = widgets.FloatSlider(
        value=0.25, min=0, max=1, step=0.05, description="share", continuous_update=False
    )

    def show(image: int, source: int, strategy: str, fill: str, share: float) -> None:
        record, chosen = records[image], sources[source]
        size = network_size(record.image.shape[:2], long_side)
        picture = resize_image(record.image, *size)
        found = resize_map(np.asarray(chosen.compute([record])[0], np.float32), size)
        ranks = relevance_ranks(found, 0 if chosen.group == PATCHES_OF_13 else MAP_BLUR)
        masked = Filler(picture, fill)(mask(ranks, share, strategy))
        whole, left = scorer.score(np.stack([picture, masked]))
        figure, axes = plt.subplots(1, 3, figsize=(9, 2.6))
        titles = ["image", chosen.method, f"{share:.0%} masked, {strategy}"]
        report.show_row(axes, [picture, found, masked], titles)
        figure.suptitle(
            f"{scorer.name}: {whole:.3f} whole, {left:.3f} masked ({left - whole:+.3f})"
        )
        plt.show()

    controls = {
        "image": image,
        "source": source,
        "strategy": strategy,
        "fill": fill,
        "share": share,
    }
    picture = widgets.interactive_output(show, controls)
    return widgets.VBox(
        [widgets.HBox([image, source, fill]), widgets.HBox([strategy, share]), picture]
    )
