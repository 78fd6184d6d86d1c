"""Every quality model under one call: the project's own, and pyiqa's [50]."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from lib import models
from lib.data.records import fingerprint
from lib.extraction import weights_fingerprint
from lib.models.baseline import Baseline
from lib.training import best_device

OURS = ("baseline-", "control-", "sal-loss-", "gradcam-loss-")  # how our networks' names begin


@dataclass(frozen=True)
class Scorer:
    """A no-reference quality model.

    Attributes
    ----------
    name : str
        As it stands in the tables.
    score : callable
        From BxHxWx3 uint8 to (B,) float64, higher is better (a metric for which lower is better
        is negated).
    key : str
        Everything that decides the scores; for caches.
    network : Baseline or None
        The network, where a GradCAM can be had of it.
    """

    name: str
    score: Callable[[np.ndarray], np.ndarray]
    key: str
    network: Baseline | None = None


def scorer(name: str) -> Scorer:
    """Load a no-reference model by name: one of the project's (`lib.models.load`), or pyiqa's.

    Raises
    ------
    FileNotFoundError
        If a model of the project has no weights.
    ValueError
        If pyiqa has no such no-reference metric.
    ConnectionError
        If pyiqa's weights are neither on this machine nor within reach.
    """
    if name.startswith(OURS):
        return _own(name)
    return _pyiqa(name)


def scorers(names: Iterable[str]) -> tuple[list[Scorer], dict[str, str]]:
    """Load what can be had; the rest is named with its reason, never dropped in silence.

    Returns
    -------
    (list of Scorer, dict)
        The models, and the reason for each name that is missing.
    """
    found, missing = [], {}
    for name in names:
        try:
            found.append(scorer(name))
        except (FileNotFoundError, ConnectionError) as error:
            missing[name] = str(error)
    return found, missing


def _own(name: str) -> Scorer:
    network = models.load(name).to(best_device())

    @torch.inference_mode()
    def score(images: np.ndarray) -> np.ndarray:
        return network(network.normalize(images)).double().cpu().numpy()

    return Scorer(name, score, weights_fingerprint(network), network)


def _pyiqa(name: str) -> Scorer:
    import pyiqa  # takes seconds to import, and only here is it needed

    if name not in pyiqa.list_models(metric_mode="NR"):
        raise ValueError(
            f"pyiqa has no no-reference metric {name!r}; see pyiqa.list_models(metric_mode='NR')"
        )
    try:
        metric = pyiqa.create_metric(name, device="cpu")
    except (OSError, RuntimeError) as error:  # urllib's, requests' and the hub's are OSErrors
        raise ConnectionError(
            f"the weights of {name!r} are not on this machine and could not be downloaded "
            f'({error}); run once where there is network: python -c "import lib, pyiqa; '
            f"pyiqa.create_metric('{name}')\""
        ) from error
    sign = -1.0 if metric.lower_better else 1.0

    @torch.inference_mode()
    def score(images: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
        return sign * metric(pixels).double().numpy().reshape(len(images))

    return Scorer(name, score, fingerprint(["pyiqa", pyiqa.__version__, name]))
