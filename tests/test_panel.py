"""The sliders of notebook 02 mask and score."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest

from lib import masking, panel
from lib.records import Record
from lib.models.zoo import Scorer


@pytest.fixture
def shown(monkeypatch):
    titles = []
    monkeypatch.setattr(plt, "show", lambda: titles.append(plt.gcf().get_suptitle()))
    yield titles
    plt.close("all")


def test_every_change_masks_and_scores_anew(shown):
    white = Record("white", np.full((64, 64, 3), 255, np.uint8))
    scorer = Scorer("brightness", lambda images: images.mean(axis=(1, 2, 3)) / 255, "k")
    sources = [masking.center_source(), masking.chance_source(0)]
    box = panel.masking_panel(scorer, [white], sources, 64)
    controls = {w.description: w for line in box.children[:2] for w in line.children}
    assert set(controls) == {"image", "map", "strategy", "fill", "share"}
    assert shown[-1] == "brightness: 1.000 whole, 0.750 masked (-0.250)"
    controls["share"].value = 0.5
    assert shown[-1] == "brightness: 1.000 whole, 0.500 masked (-0.500)"
    controls["map"].value = 1
    controls["strategy"].value = "LeRF"
    controls["fill"].value = "blur"
    assert shown[-1] == "brightness: 1.000 whole, 1.000 masked (+0.000)"
    assert isinstance(box, widgets.VBox)
