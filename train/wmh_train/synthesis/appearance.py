"""Signals of a synthetic head in FLAIR and T1, before the scanner adds its part.

White matter is 1. The FLAIR signals of healthy tissue overlap those of lesions on purpose: cortex,
choroid plexus, the lining of the ventricles and flow are bright without being lesions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wmh_train.recipe.synthesis import LesionSettings, SignalSettings
from wmh_train.synthesis.anatomy import Anatomy
from wmh_train.synthesis.draws import Draws
from wmh_train.synthesis.fields import blur, smooth_field
from wmh_train.synthesis.tissues import Tissue

Intervals = dict[Tissue, tuple[float, float]]

# Of FLAIR, without those that depend on the cortex or on settings.
_FLAIR: Intervals = {
    Tissue.WHITE: (1, 1),
    Tissue.PLEXUS: (0.5, 1.6),
    Tissue.CEREBELLAR_WHITE: (0.92, 1.1),
    Tissue.PALLIDUM: (0.75, 1.08),
    Tissue.BRAIN_STEM: (0.92, 1.2),
    Tissue.VESSEL: (0.05, 0.9),
    Tissue.SKIN: (0.25, 1.2),
    Tissue.BONE: (0.03, 0.2),
    Tissue.MUCOSA: (0.6, 2.0),
    Tissue.EYE: (0.04, 0.35),
}
# Gray matter: the share of the cortex's excess over white matter.
_FLAIR_GRAY: Intervals = {
    Tissue.CORTEX: (1, 1),
    Tissue.CEREBELLAR_CORTEX: (0.6, 1.1),
    Tissue.HIPPOCAMPUS: (1.0, 1.5),
    Tissue.THALAMUS: (0, 0.75),
    Tissue.CAUDATE: (0.3, 1.05),
    Tissue.PUTAMEN: (0.2, 0.95),
}
_T1: Intervals = {
    Tissue.WHITE: (1, 1),
    Tissue.CORTEX: (0.6, 0.8),
    Tissue.VENTRICLE: (0.12, 0.3),
    Tissue.PLEXUS: (0.35, 0.65),
    Tissue.FLUID: (0.12, 0.35),
    Tissue.CEREBELLAR_WHITE: (0.92, 1.05),
    Tissue.CEREBELLAR_CORTEX: (0.6, 0.8),
    Tissue.THALAMUS: (0.8, 0.93),
    Tissue.CAUDATE: (0.65, 0.8),
    Tissue.PUTAMEN: (0.7, 0.86),
    Tissue.PALLIDUM: (0.86, 1),
    Tissue.HIPPOCAMPUS: (0.62, 0.8),
    Tissue.BRAIN_STEM: (0.88, 1),
    Tissue.VESSEL: (0.2, 1.2),
    Tissue.SKIN: (0.5, 1.2),
    Tissue.BONE: (0.05, 0.25),
    Tissue.MARROW: (0.8, 1.8),
    Tissue.MUCOSA: (0.5, 1.1),
    Tissue.EYE: (0.1, 0.3),
}
_MARROW = (0.3, 1.1)  # of the signal of fat
_SKIN = (0.3, 1.1)  # of the signal of fat, in half of the heads
_ORBIT_MM = 13.0  # around the eyes: fat
_MUSCLE = {"flair": (0.3, 0.8), "t1": (0.35, 0.7)}
_T1_FAT = (1.1, 2.2)
_UNSUPPRESSED_FLUID = (0.4, 0.65)  # in a tenth of the FLAIR scans
_TEXTURE_SCALES_MM = (3, 12)
_LEAST_CONTRAST = 0.3  # of a lesion, relative to the others in its head
_LESION_FLOOR = (0.06, 0.2)  # lesions are brighter than the cortex by at least this
_T1_LESION = (0.05, 0.35)  # darker than white matter


def paint_flair(
    anatomy: Anatomy,
    lesions: Tensor,
    settings: SignalSettings,
    lesion_settings: LesionSettings,
    draws: Draws,
) -> Tensor:
    """Return the signal of FLAIR, float32 (X, Y, Z), 0 in air.

    Args:
        anatomy: of the head.
        lesions: bool (X, Y, Z).
        settings: ranges of signals.
        lesion_settings: ranges of contrast and border.
        draws: of this head.
    """
    cortex = draws.uniform(settings.cortex)
    signals = _draw(_FLAIR, draws)
    for tissue, interval in _FLAIR_GRAY.items():
        signals[tissue] = 1 + (cortex - 1) * draws.uniform(interval)
    is_suppressed = draws.chance(0.9)
    fluid = draws.uniform(settings.fluid if is_suppressed else _UNSUPPRESSED_FLUID)
    signals[Tissue.VENTRICLE] = fluid
    signals[Tissue.FLUID] = fluid * draws.uniform((0.8, 1.3))
    has_suppressed_fat = draws.chance(settings.suppressed_share)
    fat = draws.log_uniform(settings.suppressed_fat if has_suppressed_fat else settings.fat)
    signals[Tissue.MARROW] = fat * draws.uniform(_MARROW)
    if draws.chance(0.5):
        signals[Tissue.SKIN] = fat * draws.uniform(_SKIN)
    image = _paint_tissues(anatomy, signals, fat, "flair", draws)
    _add_bright_normal_tissue(image, anatomy, cortex, settings, draws)
    for scale_mm in _TEXTURE_SCALES_MM:
        image *= 1 + draws.uniform(settings.texture) * smooth_field(draws, anatomy.shape, scale_mm)
    contrast = draws.log_uniform(lesion_settings.contrast)
    least = (cortex - 1) * draws.uniform((0.95, 1.25)) + draws.uniform(_LESION_FLOOR)
    return _add_lesions(image, lesions, max(contrast, least), lesion_settings, fluid, draws)


def paint_t1(anatomy: Anatomy, lesions: Tensor, draws: Draws) -> Tensor:
    """Return the signal of T1 of the same anatomy, float32 (X, Y, Z), 0 in air."""
    image = _paint_tissues(anatomy, _draw(_T1, draws), draws.uniform(_T1_FAT), "t1", draws)
    weight = blur(lesions.float(), (0.7, 0.7, 0.7))
    return image - draws.uniform(_T1_LESION) * weight * image


def _draw(intervals: Intervals, draws: Draws) -> dict[Tissue, float]:
    return {tissue: draws.uniform(interval) for tissue, interval in intervals.items()}


def _paint_tissues(
    anatomy: Anatomy, signals: dict[Tissue, float], fat: float, contrast: str, draws: Draws
) -> Tensor:
    table = torch.zeros(len(Tissue))
    for tissue, signal in signals.items():
        table[tissue] = signal
    table[Tissue.SOFT] = draws.uniform(_MUSCLE[contrast])
    image = table[anatomy.tissue.long()]
    fat_mm = draws.uniform((2, 7)) * (1 + 0.4 * smooth_field(draws, anatomy.shape, 24))
    between_muscles = smooth_field(draws, anatomy.shape, 9) > draws.uniform((0.6, 1.6))
    soft = anatomy.tissue == Tissue.SOFT
    is_orbit = anatomy.from_eyes_mm < _ORBIT_MM
    image[soft & ((anatomy.below_skin_mm < fat_mm) | between_muscles | is_orbit)] = fat
    return image


def _add_bright_normal_tissue(
    image: Tensor, anatomy: Anatomy, cortex: float, settings: SignalSettings, draws: Draws
) -> None:
    """Add what is brighter than white matter without being a lesion, in place."""
    white = anatomy.tissue == Tissue.WHITE
    from_ventricles = anatomy.from_ventricles_mm
    diffuse = torch.exp(-from_ventricles / draws.uniform((4, 14)))
    patches = (1 + 0.5 * smooth_field(draws, anatomy.shape, 12)).clamp(0, 2)
    image += draws.uniform(settings.dirty_white) * diffuse * patches * white
    cortical = anatomy.is_any((Tissue.CORTEX, Tissue.HIPPOCAMPUS))
    areas = smooth_field(draws, anatomy.shape, draws.uniform((10, 25))).clamp(-2, 2)
    image += (cortex - 1) * draws.uniform(settings.cortex_unevenness) * areas * cortical
    if draws.chance(settings.rim_share):
        rim = white & (from_ventricles > 0) & (from_ventricles < draws.uniform((0.7, 1.8)))
        image[rim] += draws.uniform((0.05, 0.45))
    if draws.chance(settings.islands_share):
        near = white & (anatomy.from_surface_mm < 3)
        islands = smooth_field(draws, anatomy.shape, 5) > draws.uniform((1.2, 2.2))
        image[near & islands] = 1 + (cortex - 1) * draws.uniform((0.8, 1.2))
    if draws.chance(settings.flow_share):
        fluid = anatomy.is_any((Tissue.VENTRICLE, Tissue.FLUID))
        flow = smooth_field(draws, anatomy.shape, draws.uniform((6, 14))) - draws.uniform(
            (0.8, 1.8)
        )
        image += fluid * flow.clamp(0, 1) * draws.uniform((0.2, 1.3))


def _add_lesions(
    image: Tensor,
    lesions: Tensor,
    contrast: float,
    settings: LesionSettings,
    fluid: float,
    draws: Draws,
) -> Tensor:
    if not lesions.any():
        return image
    mask = lesions.float()
    edge_mm = draws.uniform(settings.edge_mm)
    weight = (1.15 * blur(mask, (edge_mm, edge_mm, edge_mm))).clamp(0, 1)
    if draws.chance(settings.fading_share):
        wide_mm = draws.uniform((1.5, 3))
        halo = blur(mask, (wide_mm, wide_mm, wide_mm))
        weight = torch.maximum(weight, draws.uniform((0.2, 0.5)) * halo)
    unevenness = draws.uniform(settings.unevenness)
    variation = 1 + unevenness * smooth_field(draws, image.shape, 8)
    level = contrast * variation.clamp(min=_LEAST_CONTRAST)
    image = image * (1 - weight) + weight * torch.maximum(image, 1 + level)
    if draws.chance(settings.dark_core_share):
        core = blur(mask, (2.5, 2.5, 2.5)) > draws.uniform((0.85, 0.95))
        core &= smooth_field(draws, image.shape, 10) > 0.5
        core_weight = blur(core.float(), (0.7, 0.7, 0.7))
        image = image * (1 - core_weight) + core_weight * (fluid + draws.uniform((0, 0.4)))
    return image
