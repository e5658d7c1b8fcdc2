"""Scans of a head that is painted from a label map of a real brain."""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
import torch
from torch import Tensor

from benchmarks.dev.studies.rescans.heads import SCENARIOS, HeadScan
from wmh_train.recipe.synthesis import AcquisitionSettings, SynthesisSettings
from wmh_train.synthesis.acquisition import Voxels, acquire, draw_voxels
from wmh_train.synthesis.anatomy import Anatomy, LabelMap, draw_anatomy, sample
from wmh_train.synthesis.appearance import paint_flair
from wmh_train.synthesis.draws import Draws
from wmh_train.synthesis.lesions import draw_lesions
from wmh_train.synthesis.tissues import Tissue

_SEED = 77
_TILT_DEGREES, _SHIFT_MM = 5.0, 3.0  # standard deviations, of a head that is placed again
_MIN_SHARE = 0.5  # of a voxel that is lesion
_LEAST_ML = 1.0
_ADDED, _REMOVED, _GROWN = 6, 4, 4
_ADDED_RADIUS_MM = (1.5, 4.0)
_REMOVED_MM3 = (20, 500)  # voxels of 1 mm
_CLEARANCE_MM = 6.0  # of added lesions, from others and from the cortex


def synthetic_scans(maps: Sequence[LabelMap], number: int) -> dict[str, HeadScan]:
    """Scan a synthetic head: first, and in each scenario."""
    settings = SynthesisSettings()
    draws = Draws(_SEED, number)
    anatomy = draw_anatomy(maps[number % len(maps)], settings.anatomy, draws)
    before = _draw_some_lesions(anatomy, settings, draws)
    after = _changed(anatomy, before, draws)
    signals = {
        name: paint_flair(
            anatomy, lesions, settings.signals, settings.lesions, Draws(_SEED, number, 1)
        )
        for name, lesions in (("before", before), ("after", after))
    }
    first = _settings_of_scanner(settings.acquisition, draws)
    scans = {}
    for scenario in ("first", *SCENARIOS):
        scanner = first
        if scenario == "contrast":
            scanner = _settings_of_scanner(settings.acquisition, draws, grid_of=first)
        elif scenario == "thickness":
            scanner = first.model_copy(update={"thickness_mm": (5.0, 5.0)})
        is_changed = scenario == "changed"
        positions = _placed(anatomy.shape, draws)
        signal = sample(signals["after" if is_changed else "before"], positions)
        voxels = draw_voxels(anatomy.shape, scanner, draws)
        image = acquire(signal, anatomy, voxels, None, scanner, draws)
        scans[scenario] = HeadScan(
            image,
            _mask(after if is_changed else before, positions, voxels),
            _mask(before, positions, voxels),
            np.diag([*voxels.spacing_mm, 1.0]),
        )
    return scans


def _draw_some_lesions(anatomy: Anatomy, settings: SynthesisSettings, draws: Draws) -> Tensor:
    """Draw lesions until there are enough; 1 voxel is 1 mm³."""
    lesion_settings = settings.lesions.model_copy(
        update={"without_share": 0.0, "load_ml": (2.0, 40.0)}
    )
    while True:
        lesions = draw_lesions(anatomy, [], lesion_settings, draws)
        if lesions.sum() >= 1000 * _LEAST_ML:
            return lesions


def _settings_of_scanner(
    settings: AcquisitionSettings, draws: Draws, grid_of: AcquisitionSettings | None = None
) -> AcquisitionSettings:
    """Fix what is the same in all scans of a scanner."""
    pixel_mm = draws.uniform(settings.pixel_mm)
    grid = {"isotropic_share": 0.0, "pixel_mm": (pixel_mm,) * 2, "thickness_mm": (3.0, 3.0)}
    if grid_of is not None:
        grid = {name: getattr(grid_of, name) for name in grid}
    fixed = {name: (draws.uniform(getattr(settings, name)),) * 2 for name in ("blur_mm", "gamma")}
    noise = draws.log_uniform((settings.noise[0], 0.05))
    others = {"gap_share": (0.0, 0.0), "ghost_share": 0.0, "noise": (noise, noise)}
    return settings.model_copy(update=grid | fixed | others)


def _placed(shape: tuple[int, int, int], draws: Draws) -> Tensor:
    """Return the voxel of the head (X, Y, Z, 3) at each place of a head that is placed anew."""
    x, y, z = np.radians(draws.rng.normal(0, _TILT_DEGREES, 3))
    generator = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    rotation = torch.linalg.matrix_exp(generator).float()
    axes = [torch.arange(size, dtype=torch.float32) - (size - 1) / 2 for size in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    shift = torch.from_numpy(draws.rng.normal(0, _SHIFT_MM, 3).astype(np.float32))
    return grid @ rotation.T + shift + (torch.tensor(shape) - 1) / 2


def _mask(lesions: Tensor, positions: Tensor, voxels: Voxels) -> np.ndarray:
    return (voxels.resample(sample(lesions, positions)) >= _MIN_SHARE).numpy()


def _changed(anatomy: Anatomy, before: Tensor, draws: Draws) -> Tensor:
    """Add round lesions, remove some, and let some grow by a voxel."""
    labels, count = cc3d.connected_components(before.numpy(), connectivity=26, return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    small = np.flatnonzero((sizes >= _REMOVED_MM3[0]) & (sizes <= _REMOVED_MM3[1]))
    chosen = draws.rng.permutation(small[small > 0])
    after = before.clone()
    after[torch.from_numpy(np.isin(labels, chosen[:_REMOVED]))] = False
    white = anatomy.tissue == Tissue.WHITE
    grown = torch.from_numpy(np.isin(labels, chosen[_REMOVED : _REMOVED + _GROWN]))
    after |= (anatomy._distance_mm(grown) <= 1.5) & white
    is_clear = anatomy._distance_mm(before) > _CLEARANCE_MM
    places = (white & is_clear & (anatomy.from_surface_mm > _CLEARANCE_MM / 2)).nonzero()
    for place in places[draws.rng.integers(len(places), size=_ADDED)]:
        offsets = torch.stack(
            torch.meshgrid(
                *(torch.arange(n) - p for n, p in zip(after.shape, place, strict=True)),
                indexing="ij",
            )
        ).float()
        after |= (offsets.norm(dim=0) <= draws.uniform(_ADDED_RADIUS_MM)) & white
    return after
