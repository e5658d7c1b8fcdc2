"""Which networks each program runs on a scan, and how often.

Sources: the public code of each program, as it was in 2026. What it does not say is assumed, and
`assumed` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from benchmarks.dev.peers.networks import LstAiUNet, SynthSegUNet, nnunet

Shape = tuple[int, int, int]  # voxels of 1 mm

_HALVING = (2, 2, 2)
_MARS_PATCH: Shape = (128, 160, 112)
_MINDGLIDE_PATCH: Shape = (128, 128, 64)
_LST_AI_SIDE = 192
_SYNTHSEG_LARGEST: Shape = (192, 224, 192)
_SYNTHSEG_MULTIPLE = 32
_MIRRORINGS, _FOLDS = 8, 5


@dataclass(frozen=True)
class Pass:
    """A network, what it is executed on at once, and how often that is done for a scan."""

    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]  # [1, channels, x, y, z]
    count: int


@dataclass(frozen=True)
class Program:
    """The network part of a program for one scan."""

    name: str
    passes: Sequence[Pass]
    left_out: str  # what the program does besides, which is not timed
    assumed: str = ""  # what its public code does not say


def programs(scan: Shape) -> list[Program]:
    """Return the programs for a scan of this size, resampled to voxels of 1 mm."""
    windows = _count_windows(scan, _MARS_PATCH)
    mars_left_out = "HD-BET of FLAIR and T1, registration, resampling"
    mars_assumed = "patch size, five folds"
    return [
        Program(
            "MARS-WMH (nnU-Net), five folds, mirrored",
            [_of_mars(windows * _MIRRORINGS * _FOLDS)],
            mars_left_out,
            mars_assumed,
        ),
        Program(
            "MARS-WMH (nnU-Net), one fold, not mirrored",
            [_of_mars(windows)],
            mars_left_out,
            mars_assumed,
        ),
        Program(
            "MindGlide",
            [
                Pass(
                    partial(nnunet, [*[_HALVING] * 4, (2, 2, 1)], channels=1, outputs=20),
                    (1, 1, *_MINDGLIDE_PATCH),
                    _count_windows(scan, _MINDGLIDE_PATCH),
                )
            ],
            "resampling, crop to the foreground",
        ),
        Program(
            "LST-AI, three networks",
            [_of_lst_ai(28, 168), _of_lst_ai(24, 144), _of_lst_ai(32, 160)],
            "HD-BET, registration to MNI space",
        ),
        Program(
            "WMH-SynthSeg, cropped",
            [Pass(SynthSegUNet, (1, 1, *_synthseg_crop(scan)), 3)],  # one to locate, two views
            "resampling, volumes of regions",
        ),
    ]


def _of_mars(count: int) -> Pass:
    return Pass(
        partial(nnunet, [*[_HALVING] * 4, (2, 2, 1)], channels=2, outputs=2),
        (1, 2, *_MARS_PATCH),
        count,
    )


def _of_lst_ai(width: int, bottleneck: int) -> Pass:
    return Pass(partial(LstAiUNet, width, bottleneck), (1, 2, *[_LST_AI_SIDE] * 3), 1)


def _count_windows(scan: Shape, patch: Shape) -> int:
    """Count the windows of a sliding window with an overlap of a half."""
    return math.prod(
        math.ceil(max(size - side, 0) / (side / 2)) + 1
        for size, side in zip(scan, patch, strict=True)
    )


def _synthseg_crop(scan: Shape) -> Shape:
    """Return the largest crop, padded to what five halvings need."""
    x, y, z = (
        math.ceil(min(size, most) / _SYNTHSEG_MULTIPLE) * _SYNTHSEG_MULTIPLE
        for size, most in zip(scan, _SYNTHSEG_LARGEST, strict=True)
    )
    return x, y, z
