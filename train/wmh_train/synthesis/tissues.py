"""Tissues of a head, and which labels of a FreeSurfer-numbered label map belong to each.

The numbers up to 255 are those of FreeSurfer's color table. The numbers from 500 are tissues
outside the brain, as in the label maps that SynthSeg was trained with; their meaning was told from
where they are in the head.
"""

from __future__ import annotations

from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray


class Tissue(IntEnum):
    """A tissue with a signal of its own; 0 is air."""

    AIR = 0
    WHITE = auto()  # of the cerebrum
    CORTEX = auto()
    VENTRICLE = auto()  # lateral
    PLEXUS = auto()  # choroid plexus and septum, in the lateral ventricles
    FLUID = auto()  # other cerebrospinal fluid, also in the third and fourth ventricle
    CEREBELLAR_WHITE = auto()
    CEREBELLAR_CORTEX = auto()
    THALAMUS = auto()
    CAUDATE = auto()
    PUTAMEN = auto()
    PALLIDUM = auto()
    HIPPOCAMPUS = auto()  # and amygdala
    BRAIN_STEM = auto()  # and ventral diencephalon
    VESSEL = auto()  # and dura
    SOFT = auto()  # muscle and fat
    SKIN = auto()
    BONE = auto()
    MARROW = auto()
    MUCOSA = auto()
    EYE = auto()


LESION_LABELS = (25, 57, 77)  # they lie in white matter

_LABELS = {
    Tissue.WHITE: (2, 41, 77, 78, 79, 85, 251, 252, 253, 254, 255, *LESION_LABELS),
    Tissue.CORTEX: (3, 42, 19, 55),
    Tissue.VENTRICLE: (4, 43, 5, 44),
    Tissue.PLEXUS: (31, 63, 136, 137, 163, 164),
    Tissue.FLUID: (14, 15, 24, 72, 122),
    Tissue.CEREBELLAR_WHITE: (7, 46),
    Tissue.CEREBELLAR_CORTEX: (8, 47),
    Tissue.THALAMUS: (9, 48, 10, 49),
    Tissue.CAUDATE: (11, 50, 26, 58),
    Tissue.PUTAMEN: (12, 51, 80),
    Tissue.PALLIDUM: (13, 52),
    Tissue.HIPPOCAMPUS: (17, 53, 18, 54),
    Tissue.BRAIN_STEM: (16, 28, 60, 512),
    Tissue.VESSEL: (30, 62, 502, 514),
    Tissue.SOFT: (507, 530),
    Tissue.SKIN: (511,),
    Tissue.BONE: (515,),
    Tissue.MARROW: (516,),
    Tissue.MUCOSA: (509, 508),
    Tissue.EYE: (506,),
}

DEEP_GRAY = (Tissue.THALAMUS, Tissue.CAUDATE, Tissue.PUTAMEN, Tissue.PALLIDUM)
POSTERIOR = (Tissue.CEREBELLAR_WHITE, Tissue.CEREBELLAR_CORTEX, Tissue.BRAIN_STEM)
VENTRICLES = (Tissue.VENTRICLE, Tissue.PLEXUS)
BRAIN = (Tissue.WHITE, Tissue.CORTEX, *VENTRICLES, Tissue.HIPPOCAMPUS, *DEEP_GRAY, *POSTERIOR)

# The outputs of the network that are regions, and what each of them covers.
REGIONS: dict[str, tuple[Tissue, ...]] = {
    "brain": BRAIN,
    "ventricles": VENTRICLES,
    "white": (Tissue.WHITE,),
    "cortex": (Tissue.CORTEX,),
    "deepgray": DEEP_GRAY,
    "posterior": POSTERIOR,
}

_TISSUE_OF_LABEL = {label: tissue for tissue, labels in _LABELS.items() for label in labels}


def unknown_labels(labels: NDArray[np.int64]) -> list[int]:
    """Return the labels without a tissue, sorted. 0 is air."""
    if labels.min() < 0:
        return [int(labels.min())]
    used = np.flatnonzero(np.bincount(labels.ravel()))
    return [int(label) for label in used if label and int(label) not in _TISSUE_OF_LABEL]


def tissues_of(labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the tissue of each voxel, same shape. All labels are known."""
    table = np.zeros(max(_TISSUE_OF_LABEL) + 1, np.uint8)
    for label, tissue in _TISSUE_OF_LABEL.items():
        table[label] = tissue
    return table[labels]
