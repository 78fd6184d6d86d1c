"""Where a score comes from: GradCAM [31] and HiResCAM [33], smoothed as pytorch-grad-cam does [44].

The maps are pytorch-grad-cam's (the tests hold them against it); the way there is shorter: the
gradient is taken down to the explained layer only, and the first principal component comes from the
Gram matrix of the few places instead of a full SVD of the many channels.
"""

import cv2
import numpy as np
import torch
from torch import Tensor, nn

VERSION = 1  # of the numbers in the cache
BRIGHTNESS = (0.9, 1.0, 1.1)  # of the views; with and without mirroring, as in [44]
PICTURES_PER_PASS = 8  # bounds the memory
# From the feature map A and dy/dA, both BxKxhxw, to what is added up over the K channels.
METHODS = {
    "hirescam": lambda A, gradient: gradient * A,  # place by place [33]
    "gradcam": lambda A, gradient: gradient.mean(dim=(2, 3), keepdim=True) * A,  # [31]
}


def extract_cam(
    model: nn.Module,
    images: Tensor,
    layer: nn.Module,
    method: str = "hirescam",
    aug_smooth: bool = True,
    eigen_smooth: bool = True,
    eigen_sign: str = "cam",
) -> np.ndarray:
    """Explain the score of each image by a map from 0 to 1, BxHxW float32.

    `model` maps `images`, BxCxHxW and normalised as it wants it, to (B,) or (B, 1) scores; it is
    explained as in `eval` mode, and left as it was found. `layer` is a part of it whose output is a
    feature map BxKxhxw; `method` is a name of `METHODS`. `aug_smooth` averages over six views:
    mirrored or not, times three brightnesses. `eigen_smooth` projects the channels on their first
    principal component over places instead of adding them up. That has no sign of its own:
    `eigen_sign` "cam" points it the way of the sum; "lapack" takes NumPy's SVD's, as [44] does.
    """
    if method not in METHODS or eigen_sign not in ("cam", "lapack"):
        known = f"one of {', '.join(METHODS)} and its sign cam or lapack"
        raise ValueError(f"the CAM must be {known}, not {method!r} and {eigen_sign!r}")
    mirrorings, factors = ((False, True), BRIGHTNESS) if aug_smooth else ((False,), (1.0,))
    if not (isinstance(images, torch.Tensor) and images.dim() == 4 and images.is_floating_point()):
        raise ValueError("images must be a float tensor BxCxHxW, normalised as the model wants it")
    if any(p.is_inference() for p in (*model.parameters(), *model.buffers())):
        raise ValueError("a model made in torch.inference_mode() has no gradients; make it outside")
    views = [(images.flip(-1) if m else images) * f for m in mirrorings for f in factors]
    size = (images.shape[-1], images.shape[-2])
    found = []
    for part in torch.cat(views).split(PICTURES_PER_PASS):
        weighted = METHODS[method](*_explained(model, part, layer))  # (B, K, h, w)
        maps = _first_component(weighted, eigen_sign) if eigen_smooth else weighted.sum(dim=1)
        found += [enlarge(m, size) for m in maps.clamp(min=0).cpu().numpy()]
    maps = np.stack(found).reshape(len(mirrorings), len(factors), len(images), *size[::-1])
    if aug_smooth:
        maps[1] = maps[1, ..., ::-1]
    return maps.mean(axis=(0, 1), dtype=np.float32)


@torch.inference_mode(False)
def _explained(model: nn.Module, images: Tensor, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the layer's output A and dy/dA, each BxKxhxw float32."""
    kept, name = [], type(layer).__name__

    def restart(_: nn.Module, __: tuple, output: Tensor) -> Tensor:
        """Let the graph begin here: the output is kept and passed on, and what follows recorded."""
        if not isinstance(output, Tensor) or output.dim() != 4:
            raise ValueError(f"the explained layer must give a feature map BxKxhxw, not {name}")
        kept.append(output.detach().requires_grad_())
        torch.set_grad_enabled(True)
        return kept[-1]

    training = {module: module.training for module in model.modules()}
    model.eval()
    handle = layer.register_forward_hook(restart)
    try:
        with torch.no_grad():
            scores = model(images.clone())  # an inference tensor's copy is a plain one
        if not kept:
            raise ValueError(f"the model does not use the layer {name}")
        if not torch.isfinite(scores).all():
            raise ValueError("the model's score is not finite; check its weights and its input")
        (gradients,) = torch.autograd.grad(scores.sum(), kept[-1])
    finally:
        handle.remove()
        for module, mode in training.items():
            module.training = mode
    return kept[-1].detach().float(), gradients.float()


def _first_component(weighted: Tensor, eigen_sign: str) -> Tensor:
    """Project BxKxhxw on the first principal component of its K channels over places: Bxhxw."""
    table = weighted.flatten(2).transpose(1, 2)  # (B, places, channels)
    table = table - table.mean(dim=1, keepdim=True)  # else the component is the mean's direction
    if eigen_sign == "lapack":
        components = [np.linalg.svd(t, full_matrices=False)[2][0] for t in table.cpu().numpy()]
        vectors = torch.from_numpy(np.stack(components)).to(table.device)
        return (table @ vectors[..., None]).squeeze(-1).float().unflatten(1, weighted.shape[2:])
    # X X' u = s^2 u and X v = s u: the smaller of the two Gram matrices will do.
    fewer_places = table.shape[1] < table.shape[2]
    wide = table if fewer_places else table.transpose(1, 2)
    eigenvalues, vectors = torch.linalg.eigh((wide @ wide.transpose(1, 2)).double())
    if fewer_places:
        projection = vectors[..., -1] * eigenvalues[:, -1:].clamp(min=0).sqrt()
    else:
        projection = (table.double() @ vectors[..., -1:]).squeeze(-1)
    towards = (projection * table.sum(dim=2)).sum(dim=1, keepdim=True)
    projection = torch.where(towards < 0, -projection, projection)
    return projection.float().unflatten(1, weighted.shape[2:])


def enlarge(saliency_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch a map to the range from 0 to 1 and enlarge it to (width, height), as [44] does."""
    return _unit_range(cv2.resize(_unit_range(saliency_map).astype(np.float32), size))


def _unit_range(saliency_map: np.ndarray) -> np.ndarray:
    saliency_map = saliency_map - saliency_map.min()
    return saliency_map / (1e-7 + saliency_map.max())  # the constant is [44]'s
