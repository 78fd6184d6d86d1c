"""Two answers from one pass: a quality score and a saliency map."""

import numpy as np
import torch

from lib.images import network_size, resize_image
from lib.maps import normalize_sum, resize_map
from lib.models.baseline import Baseline

LONG_SIDE = 256  # pixels; what the dual-task networks were trained at


class DualTask:
    """Judge a picture and predict where people look in it.

    Parameters
    ----------
    network : Baseline
        A network that was trained on both tasks (Section III-C).
    """

    def __init__(self, network: Baseline):
        self.network = network.eval()

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the score and the saliency of an HxWx3 uint8 image.

        Returns
        -------
        (float, numpy.ndarray)
            Quality, higher is better; density HxW float32, sums to 1.
        """
        small = resize_image(image, *network_size(image.shape[:2], LONG_SIDE))
        score, saliency = self.network.both(self.network.normalize(small[None]))
        return score.item(), normalize_sum(resize_map(saliency[0].numpy(), image.shape[:2]))
