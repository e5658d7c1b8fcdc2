"""A small label map: ellipsoids within each other, with FreeSurfer's numbers."""

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (96, 112, 96)  # to the left, to the bottom, to the front, as FreeSurfer stores it
CENTER = (48, 48, 56)  # of the cerebrum: right, front, top


def write_toy_map(path: Path) -> Path:
    """Write a head of 40 mm radius with ventricles, a cerebellum, skull, skin and lesions."""
    x, y, z = np.ogrid[:96, :96, :112]

    def ball(center, radii):
        return (
            sum(((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), center, radii, strict=True))
            <= 1
        )

    labels = np.zeros((96, 96, 112), np.int16)
    labels[ball(CENTER, (42, 44, 44))] = 511  # skin
    labels[ball(CENTER, (40, 42, 42))] = 507  # fat
    labels[ball(CENTER, (37, 39, 39))] = 515  # bone
    labels[ball(CENTER, (34, 36, 36))] = 24  # fluid
    labels[ball(CENTER, (30, 32, 28))] = 3  # cortex
    labels[ball(CENTER, (26, 28, 24))] = 2  # white matter
    labels[ball((40, 48, 56), (4, 12, 6))] = 4  # ventricles
    labels[ball((56, 48, 56), (4, 12, 6))] = 43
    labels[ball((48, 36, 24), (14, 10, 7))] = 8  # cerebellum
    labels[ball((36, 64, 62), (4, 4, 4))] = 25  # a lesion
    affine = np.diag([1.0, 1, 1, 1])
    image = nib.as_closest_canonical(nib.Nifti1Image(labels, affine))
    lia = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt("LIA")
    )
    nib.save(image.as_reoriented(lia), path)
    return path


def write_toy_mask(path: Path) -> Path:
    """Write a lesion mask in the space of the MNI template: a ball amid its cerebrum."""
    affine = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    to_mm = np.indices((91, 109, 91)).reshape(3, -1)
    position = affine[:3, :3] @ to_mm + affine[:3, 3:]
    middle = np.array([[0.0], [-16.5], [17.5]])  # of the box from -70, -105, -46 to 70, 72, 81
    mask = (np.linalg.norm(position - middle, axis=0) <= 14).reshape(91, 109, 91)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), path)
    return path
