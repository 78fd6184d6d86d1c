"""Every quality model under one call: the project's own, and pyiqa's [50]."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import requests
import torch

from lib import models
from lib._torchvision_operators import ensure_torchvision_operators
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.store import fingerprint, weights_fingerprint

OURS = ("baseline-", "control-", "sal-loss-", "gradcam-loss-")  # how our networks' names begin
# Beside tensors, training may leave its last loss in a checkpoint: a NumPy number.
NUMPY_NUMBERS = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8")),
    *(
        (np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar")
        for core in ("core", "_core")  # before NumPy 2 and since
    ),
]

Loaded = TypeVar("Loaded")


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
    ConnectionError, pickle.UnpicklingError
        As `open_pyiqa` does.
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
    return found_and_missing(scorer, names)


def found_and_missing(
    load: Callable[[str], Loaded], names: Iterable[str]
) -> tuple[list[Loaded], dict[str, str]]:
    """Call `load` on each name; where weights are missing or unfit, keep the reason instead."""
    found, missing = [], {}
    for name in names:
        try:
            found.append(load(name))
        except (FileNotFoundError, ConnectionError, pickle.UnpicklingError) as error:
            missing[name] = str(error)
    return found, missing


def open_pyiqa(name: str) -> torch.nn.Module:
    """Build one of pyiqa's metrics with its weights, and run nothing that comes with them.

    Returns
    -------
    pyiqa.InferenceModel
        From Bx3xHxW in [0, 1] (and the reference) to scores in the metric's own direction.

    Raises
    ------
    ConnectionError
        If the weights are neither on this machine nor within reach; the message holds the command
        that gets them.
    pickle.UnpicklingError
        If a file of weights is damaged or holds anything but numbers.
    """
    import pyiqa  # takes seconds to import, and only here is it needed

    ensure_torchvision_operators()
    try:
        with plain_checkpoints(), impatient_hub():
            return pyiqa.create_metric(name, device=best_device())
    except (OSError, RuntimeError) as error:  # urllib's, requests' and the hub's are OSErrors
        raise ConnectionError(
            f"the weights of {name!r} are not on this machine and could not be downloaded "
            f'({error}); run once where there is network: python -c "from lib.models import zoo; '
            f"zoo.open_pyiqa('{name}')\""
        ) from error


@contextmanager
def plain_checkpoints() -> Iterator[None]:
    """Let `torch.load` read tensors, numbers and plain containers only, whatever it is asked for.

    pyiqa passes ``weights_only=False``, with which a checkpoint can run any code.

    Raises
    ------
    pickle.UnpicklingError
        From `torch.load`, if a file holds more than that or is damaged. It is named, and nothing
        in it was run.
    """
    load = torch.load

    def load_plain(file: object, *args: object, **options: object) -> object:
        try:
            with torch.serialization.safe_globals(NUMPY_NUMBERS):
                return load(file, *args, **options | {"weights_only": True})
        except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
            raise pickle.UnpicklingError(
                f"{getattr(file, 'name', file)} is damaged or holds more than numbers; nothing in "
                f"it was run. Delete it and download it again ({str(error).splitlines()[0]})"
            ) from error

    torch.load = load_plain
    try:
        yield
    finally:
        torch.load = load


@contextmanager
def impatient_hub() -> Iterator[None]:
    """Let the hub's client fail at once where there is no network, not after 23 s a file."""
    from huggingface_hub import constants

    is_offline = constants.is_offline_mode
    constants.is_offline_mode = lambda: is_offline() or not _in_reach(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.is_offline_mode = is_offline


@lru_cache
def _in_reach(url: str) -> bool:
    try:
        requests.head(url, timeout=5)
    except requests.RequestException:
        return False
    return True


def pixels(images: np.ndarray) -> torch.Tensor:
    """Turn BxHxWx3 uint8 into what pyiqa's metrics take: Bx3xHxW float32 in [0, 1]."""
    channels_first = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return channels_first.to(best_device()).float() / 255


def pyiqa_key(name: str, metric: torch.nn.Module) -> str:
    """Digest what decides the scores of a metric of pyiqa's: its version and all its weights."""
    import pyiqa

    # CLIP-IQA keeps CLIP in a list, out of its own state.
    networks = [metric.net, *getattr(metric.net, "clip_model", [])]
    return fingerprint(["pyiqa", pyiqa.__version__, name, *map(weights_fingerprint, networks)])


def _own(name: str) -> Scorer:
    network = models.load(name).to(best_device())

    @torch.inference_mode()
    def score(images: np.ndarray) -> np.ndarray:
        return network(network.normalize(images)).double().cpu().numpy()

    return Scorer(name, score, weights_fingerprint(network), network)


def _pyiqa(name: str) -> Scorer:
    import pyiqa

    if name not in pyiqa.list_models(metric_mode="NR"):
        raise ValueError(
            f"pyiqa has no no-reference metric {name!r}; see pyiqa.list_models(metric_mode='NR')"
        )
    metric = open_pyiqa(name)
    sign = -1.0 if metric.lower_better else 1.0

    @torch.inference_mode()
    def score(images: np.ndarray) -> np.ndarray:
        return sign * metric(pixels(images)).double().cpu().numpy().reshape(len(images))

    return Scorer(name, score, pyiqa_key(name, metric))
