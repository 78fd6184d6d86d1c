"""What a shipped model measures on images that it never saw: ``python -m benchmarks.cards NAME``.

A card, ``weights/NAME.md``, is a person's text; only the tables between its markers are written
here. `make train` does so after a training.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lib import data, models, weights
from lib.inputs import by_scene, resized_images
from lib.maps import normalize_sum, resize_map
from lib.metrics import cc, nss
from lib.models import saliency
from lib.report import markdown
from lib.stats import bootstrap_interval, plcc, srocc
from lib.store import write_atomically
from lib.training import predict


def write_card(name: str) -> Path:
    """Measure a model as it is on disk, and write the tables between the markers of its card."""
    path, measured = models.weights_path(name), {}
    if name != saliency.NAME:
        measured["quality"] = _quality_rows(name)
    if name == saliency.NAME or weights.TRAINED[name].learned_from == weights.BOTH:
        measured["saliency"] = _saliency_row(name)
    card = path.with_suffix(".md")
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {name}\n"
    for title, rows in measured.items():
        start, end = f"<!-- measured: {title} -->\n\n", "\n\n<!-- end -->"
        if start not in text:
            text += f"\n{start}{end}\n"
        before, _, rest = text.partition(start)
        text = before + start + markdown(pd.DataFrame(rows)) + rest[rest.index(end) :]
    write_atomically(card, lambda p: p.write_text(text, encoding="utf-8"))
    return card


def _quality_rows(name: str) -> list[dict]:
    """Score BIQ2021's official test photographs, and tell those of unseen scenes apart."""
    dataset, learned = (data.load("biq2021", split=part) for part in ("test", "train"))
    images = resized_images(dataset, weights.TRAINED[name].recipe.image_size)
    table = pd.DataFrame({"name": dataset.names, "mos": dataset.scores.to_numpy()})
    table["score"] = predict(models.load(name), images)
    table["new_scene"] = table.name.isin(by_scene(dataset, learned).names)
    path = models.weights_path(name).with_suffix(".test.csv")
    write_atomically(path, lambda p: table.to_csv(p, index=False, float_format="%.6f"))
    parts = {"all": table, "no training photograph of the scene": table[table.new_scene]}
    parts |= {f"subset {k}": block for k, block in table.groupby(table.name.str.split(" ").str[0])}
    rows = []
    for part, block in parts.items():
        pair = block.score.to_numpy(), block.mos.to_numpy()
        measured = {"SROCC": _with_interval(srocc, *pair), "PLCC": _with_interval(plcc, *pair)}
        rows.append({"photographs": part, "n": len(block), **measured})
    return rows


def _saliency_row(name: str) -> list[dict]:
    """Judge saliency on images of OSIE that it never saw: by cross-validation, or on fold 0."""
    if name == saliency.NAME:
        dataset = data.load("osie")
        grids = zip(dataset, saliency.cross_validate(dataset), strict=True)
        pairs = ((r, normalize_sum(resize_map(g, r.image.shape[:2]))) for r, g in grids)
    else:
        network, (_, gaze, split) = models.load(name), weights.held_out(weights.TRAINED[name])
        pairs = ((r, network.predict(r.image)[1]) for r in data.Part(gaze, split.gaze_test))
    scores = [(nss(m, r.fixations), cc(m, r.density)) for r, m in tqdm(pairs, unit="image")]
    measured = (_with_interval(np.mean, column) for column in np.array(scores).T)
    return [{"n": len(scores), **dict(zip(("NSS", "CC"), measured, strict=True))}]


def _with_interval(statistic: Callable[..., float], *sample: np.ndarray) -> str:
    low, high = bootstrap_interval(sample, statistic=statistic)
    return f"{statistic(*sample):.3f} [{low:.3f}, {high:.3f}]"


def main(arguments: list[str] | None = None) -> None:
    """Write the card of a model that ships; say so of one that does not, for it has none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cards", description=__doc__)
    shipped = [name for name in weights.MODELS if name not in models.REMADE]
    parser.add_argument("model", choices=weights.MODELS, metavar="NAME", help=", ".join(shipped))
    model = parser.parse_args(arguments).model
    print(write_card(model) if model in shipped else f"{model} does not ship: it has no card")


if __name__ == "__main__":
    main()
