"""One guard for one packaging accident: a CPU-only torch beside a CUDA-built torchvision.

The torchvision wheel on the package index is compiled against CUDA torch. Beside a CPU torch its
binary cannot be loaded, and ``import torchvision`` (hence timm, pytorch_grad_cam and pyiqa) stops
with "operator torchvision::nms does not exist". Declaring the names is enough to let it pass.
"""

import importlib.util
from pathlib import Path

import torch

_declared: list[torch.library.Library] = []  # a Library takes its operators along when collected


def ensure_torchvision_imports() -> bool:
    """Declare torchvision's operators if, and only if, its binary does not load; True if so."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or _declared:
        return bool(_declared)
    folder = Path(next(iter(spec.submodule_search_locations)))
    for binary in sorted(folder.glob("_C*")):
        try:
            torch.ops.load_library(str(binary))
            return False
        except (ImportError, OSError):
            continue
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return True
