"""Thin helper library behind the notebooks of this reproduction: read those first.

Where an item of the paper is:

====================================================  ============================================
HiResCAM, GradCAM [31, 33]                            `lib/cam.py`: `METHODS`
smoothing by six views and by the SVD [44]            `lib/cam.py`: `extract_cam`
Baseline: trunk, GAP, MLP (III-A)                     `lib/models/baseline.py`: `Baseline`
CenterPrior (III-A)                                   `lib/maps.py`: `GaussianPrior`
GradCAM of TOPIQ, DBCNN, CLIP-IQA+ (Table I)          `lib/models/published.py`: `PUBLISHED`
MSI-Net [41], TranSalNet [3] (Table I)                `lib/models/saliency.py`: `PUBLISHED`
map transforms of [45]                                `lib/transforms.py`: `MapTransform`
NSS, SIM, CC, KLD, AUC                                `lib/metrics.py`
Table I: fitted on other folds                        `lib/evaluation.py`: `evaluate`
most and least relevant first [36], fills (III-B)     `lib/masking.py`: `mask`, `fill`
blur with a large kernel (III-B)                      `lib/masking.py`: `relevance_ranks`
L_GradCAM = ReLU(sum alpha A), alpha detached (III-C) `lib/models/baseline.py`: `Baseline.saliency`
Sal-Loss decoder (III-C)                              `lib/models/baseline.py`: `SalLoss.saliency`
the losses (III-C)                                    `lib/losses.py`: `losses`
80/20 splits, repeats, proxy saliency (III-C)         `lib/dual_task.py`: `split`, `proxies`
QP' = clip(round(QP - k (s - s0))), presets [49]      `lib/codec.py`: `solve_offsets`, `PRESETS`
0.08, 0.12, 0.16 bits per pixel (III-D)               `lib/x264.py`: `encode`
scores from pairwise choices (III-D)                  `lib/subjective.py`: `fit_scores`
EW-PSNR, EW-SSIM [9] (III-D)                          `lib/weighted.py`: `ew_psnr`
the 25 metrics of Table III                           `lib/iqa.py`: `REGISTRY`
SROCC, PLCC, KRCC and KRCC-dagger                     `lib/stats.py`: `srocc`, `grouped`
means, intervals, paired tests of Tables I to III     `lib/stats.py`: `summarize`
====================================================  ============================================
"""

import sys

if sys.argv[0] != "-m":  # of `python -m lib`, few commands need torch, which takes two seconds
    from lib._torchvision import ensure_torchvision_imports

    ensure_torchvision_imports()
