"""Measure the change of one subject from visit to visit."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise

import numpy as np

from wmh_runtime.change import rules
from wmh_runtime.change.acquisition import read_acquisition
from wmh_runtime.change.comparability import require_comparable, warnings_about_masks
from wmh_runtime.change.pair.interval import IntervalChange, measure_interval
from wmh_runtime.change.record import (
    ChangeRecord,
    ClassRecord,
    IntervalRecord,
    RegistrationRecord,
    RulesRecord,
    VisitRecord,
)
from wmh_runtime.change.visits import Visit, VisitImages, read_visit
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.os_errors import input_error
from wmh_runtime.imageio.image_files import image_files, sha256_of_image
from wmh_runtime.imageio.volume import Scan

_LIBRARIES = ("wmh-lora", "numpy", "SimpleITK", "connected-components-3d")
_DECIMALS = 4  # of volumes in mL


OnInterval = Callable[[Visit, Scan, IntervalChange, IntervalRecord], None]


def measure_change(
    visits: Sequence[Visit], subject: str, on_interval: OnInterval = lambda *_: None
) -> ChangeRecord:
    """Compare each visit of a subject with the next one.

    Args:
        visits: at least two, earliest first.
        subject: such as `sub-1`; part of file names.
        on_interval: called for each interval: with its later visit, the scan of that visit, and
            what was found. The images take much memory, and are not kept.

    Raises:
        InputError: the visits cannot be compared, a file cannot be used, or two scans cannot be
            registered.
    """
    require_comparable(visits, subject)
    try:
        inputs = inputs_sha256(visits, subject)
    except OSError as error:
        raise input_error(error, "cannot be read", error.filename or subject) from error
    before = read_visit(visits[0])
    visit_records = [_visit_record(visits[0], before)]
    interval_records = []
    for earlier, later in pairwise(visits):
        after = read_visit(later)
        interval = measure_interval(before, after)
        described = _interval_record(earlier, later, interval)
        on_interval(later, after.scan, interval, described)
        interval_records.append(described)
        visit_records.append(_visit_record(later, after))
        before = after
    return ChangeRecord(
        subject=subject,
        visits=visit_records,
        intervals=interval_records,
        rules=current_rules(),
        inputs_sha256=inputs,
        versions={
            "python": platform.python_version(),
            **{library: version(library) for library in _LIBRARIES},
        },
    )


def inputs_sha256(visits: Sequence[Visit], subject: str) -> str:
    """Return a hash of all that decides the result; OSError if a file cannot be read."""
    content = [
        [
            visit.label,
            str(visit.date),
            visit.threshold,
            str(read_acquisition(visit.scan)),
            *((path.name, sha256_file(part)) for path in visit.files for part in image_files(path)),
        ]
        for visit in visits
    ]
    parts = [subject, content, current_rules().model_dump(), version("wmh-lora")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def current_rules() -> RulesRecord:
    """Return the limits of this version."""
    return RulesRecord(
        version=rules.RULES_VERSION,
        relative_change=rules.RELATIVE_CHANGE,
        smallest_change_mm3=rules.SMALLEST_CHANGE_MM3,
        highest_level_of_none=rules.HIGHEST_LEVEL_OF_NONE,
        boundary_mm=rules.ONE_PROTOCOL.lesion_mm,
        total_boundary_mm=rules.ONE_PROTOCOL.total_mm,
        boundary_of_two_protocols_mm=rules.TWO_PROTOCOLS.lesion_mm,
        total_boundary_of_two_protocols_mm=rules.TWO_PROTOCOLS.total_mm,
        link_gap_mm=rules.LINK_GAP_MM,
    )


def _visit_record(visit: Visit, images: VisitImages) -> VisitRecord:
    return VisitRecord(
        label=visit.label,
        date=visit.date,
        scan=visit.name or visit.scan.name,
        scan_sha256=visit.scan_sha256 or sha256_of_image(visit.scan),
        mask=visit.mask.name,
        mask_sha256=visit.mask_sha256 or sha256_file(visit.mask),
        volume_ml=round(images.volume_ml, _DECIMALS),
        is_from_probability=visit.probability is not None and visit.threshold is not None,
    )


def _interval_record(earlier: Visit, later: Visit, interval: IntervalChange) -> IntervalRecord:
    days = (later.date - earlier.date).days if earlier.date and later.date else None
    before_ml, after_ml = (mask.total_ml for mask in interval.masks)
    percent = 100 * interval.change_ml / before_ml if before_ml else None
    transforms = interval.transforms
    return IntervalRecord(
        earlier=earlier.label,
        later=later.label,
        days=days,
        before_ml=round(before_ml, _DECIMALS),
        after_ml=round(after_ml, _DECIMALS),
        change_ml=round(interval.change_ml, _DECIMALS),
        change_percent=None if percent is None else round(percent, 2),
        uncertainty_ml=round(interval.uncertainty_ml, _DECIMALS),
        classes=_class_records(interval),
        registration=RegistrationRecord(
            mm=round(transforms.mm, 3),
            degrees=round(transforms.degrees, 3),
            disagreement_mm=round(transforms.disagreement_mm, 3),
            similarity=round(interval.similarity, 4),
            before_to_halfway=np.round(transforms.before, 6).tolist(),
            after_to_halfway=np.round(transforms.after, 6).tolist(),
        ),
        voxel_mm=round(interval.spacing_mm, 4),
        protocol_differences=list(interval.protocol_differences),
        warnings=[*warnings_about_masks(earlier, later), *interval.warnings],
    )


def _class_records(interval: IntervalChange) -> dict[rules.ChangeClass, ClassRecord]:
    classes = np.array(interval.matched.classes, dtype=object)
    before_mm3, after_mm3 = (mask.lesions_mm3 for mask in interval.masks)
    return {
        name: ClassRecord(
            count=int(np.count_nonzero(classes == name)),
            before_ml=round(float(before_mm3[classes == name].sum()) / 1000, _DECIMALS),
            after_ml=round(float(after_mm3[classes == name].sum()) / 1000, _DECIMALS),
        )
        for name in rules.CLASSES
    }
