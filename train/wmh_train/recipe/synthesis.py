"""The ranges from which a synthetic head is drawn: the table `[synthesis]` of a recipe.

Signals are relative to white matter, which is 1. Where nothing else is said, a value is drawn
evenly from its range.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from wmh_runtime.schema import StrictModel
from wmh_train.recipe.intervals import Factors, Interval, Range, Share

HIGHEST_SEED = 2**32 - 1  # of a data set that is stored; higher ones are for the heads of an epoch


class AnatomySettings(StrictModel):
    """Shape and position of the head."""

    tilt_degrees: tuple[float, float, float] = Field(
        default=(9, 4, 5), description="standard deviations: pitch, roll and yaw of the slices"
    )
    scale: Factors = Field(default=(0.88, 1.13), description="of each axis: heads differ in size")
    elastic_mm: Interval = Field(default=(0, 5.5), description="largest local displacement")
    ventricles_mm: Interval = Field(
        default=(-1.5, 4.5), description="walls of the lateral ventricles move outward: atrophy"
    )
    ventricles_share: Share = Field(default=0.45, description="of heads with changed ventricles")
    neck_mm: Interval = Field(default=(0, 45), description="neck below the brain in the scan")


class LesionSettings(StrictModel):
    """Lesions: how many, where, how bright."""

    without_share: Share = Field(default=0.12, description="of heads without any lesion")
    real_share: Share = Field(default=0.35, description="of heads with shapes of real masks")
    own_share: Share = Field(default=0.2, description="of heads with the label map's own lesions")
    load_ml: Factors = Field(
        default=(0.3, 130), description="of lesions that are made, evenly in log scale"
    )
    contrast: Factors = Field(
        default=(0.25, 1.0), description="above white matter, evenly in log scale"
    )
    unevenness: Interval = Field(
        default=(0.1, 0.4), description="standard deviation of the contrast within a head, relative"
    )
    edge_mm: Interval = Field(default=(0.35, 1.4), description="blur of the border")
    fading_share: Share = Field(default=0.5, description="of heads with a wide, weak border")
    dark_core_share: Share = Field(
        default=0.2, description="of heads whose large lesions are dark inside: old infarcts"
    )

    @model_validator(mode="after")
    def _check_shares(self) -> LesionSettings:
        if self.real_share + self.own_share > 1:
            raise ValueError("real_share and own_share are more than 1 together")
        return self


class SignalSettings(StrictModel):
    """Signals of the tissues in FLAIR, and structures that are bright but no lesion."""

    cortex: Interval = Field(default=(1.02, 1.27), description="brighter than white matter")
    cortex_unevenness: Interval = Field(
        default=(0, 0.6),
        description="of its excess over white matter: insula and limbic cortex are brighter",
    )
    fluid: Interval = Field(default=(0.02, 0.4), description="suppressed, not always well")
    fat: Factors = Field(
        default=(1.0, 4.0), description="without fat suppression, evenly in log scale"
    )
    suppressed_fat: Factors = Field(default=(0.1, 1.0), description="evenly in log scale")
    suppressed_share: Share = Field(default=0.4, description="of scans with fat suppression")
    texture: Interval = Field(
        default=(0.01, 0.06), description="smooth variation of all tissue, fine and coarse"
    )
    dirty_white: Interval = Field(
        default=(0, 0.12), description="diffuse brightness around the ventricles, no lesion"
    )
    islands_share: Share = Field(
        default=0.6, description="of heads with bright spots at the cortex that are no lesions"
    )
    rim_share: Share = Field(
        default=0.6, description="of heads with a bright lining of the ventricles, a normal finding"
    )
    flow_share: Share = Field(
        default=0.45, description="of heads with bright flow in the fluid, an artifact"
    )


class AcquisitionSettings(StrictModel):
    """The scanner: voxels, coil, noise, motion."""

    isotropic_share: Share = Field(
        default=0.45, description="of 3-D scans; others have thick slices"
    )
    thickness_mm: Factors = Field(default=(2.5, 7), description="distance of thick slices")
    gap_share: Interval = Field(default=(0, 0.25), description="of the distance, not imaged")
    pixel_mm: Factors = Field(default=(0.7, 1.15), description="within slices")
    blur_mm: Interval = Field(default=(0.3, 1.1), description="standard deviation within slices")
    brain_only_share: Share = Field(
        default=0.4, description="of scans after a program removed the skull"
    )
    brain_margin_mm: Range = Field(
        default=(0, 8), description="what such a program leaves around the brain"
    )
    bias: Interval = Field(default=(0, 0.25), description="smooth shading, relative")
    noise: Factors = Field(default=(0.008, 0.1), description="standard deviation, evenly in log")
    ghost_share: Share = Field(default=0.12, description="of scans with motion ghosts")
    gamma: Factors = Field(default=(0.8, 1.25), description="exponent of the stored values")


class SynthesisSettings(StrictModel):
    """All ranges."""

    anatomy: AnatomySettings = AnatomySettings()
    lesions: LesionSettings = LesionSettings()
    signals: SignalSettings = SignalSettings()
    acquisition: AcquisitionSettings = AcquisitionSettings()
