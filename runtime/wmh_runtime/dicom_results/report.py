"""Volumes and counts as a structured report, of template TID 1500."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import highdicom as hd
from highdicom import sr
from pydicom.dataset import Dataset

from wmh_runtime.dicom_results import codes
from wmh_runtime.dicom_results.source import PROGRAM, RESEARCH_USE, Source
from wmh_runtime.text import INTENDED_USE

_REPORT_SERIES = 2


def measurement_report(source: Source, segmentation: hd.seg.Segmentation) -> sr.EnhancedSR:
    """Return volume and number of the lesions, in the whole brain and by location.

    Args:
        source: of the result.
        segmentation: of the same mask; the report refers to it.
    """
    series = source.series("report", _REPORT_SERIES)
    observer = sr.ObserverContext(
        observer_type=codes.DEVICE,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=source.device_uid,
            name=PROGRAM,
            manufacturer_name=PROGRAM,
            model_name=source.sidecar.settings.bundle,
            serial_number=source.sidecar.settings.model_id,
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.BRAIN_MRI,
        imaging_measurements=[_all_lesions(source, segmentation), *_by_location(source)],
        title=codes.REPORT_TITLE,
    )
    comments = [
        INTENDED_USE,
        source.images_text,
        *source.sidecar.warnings,
        *source.sidecar.model_warnings,
    ]
    content[0].ContentSequence.extend(map(_comment, comments))
    report = sr.EnhancedSR(
        evidence=[segmentation, *source.headers],
        content=content[0],
        is_complete=True,
        is_verified=False,
        series_description=f"{source.output} report ({RESEARCH_USE})",
        **series,
    )
    report.CodingSchemeIdentificationSequence = [codes.private_scheme()]
    return report


def _all_lesions(
    source: Source, segmentation: hd.seg.Segmentation
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    sidecar, (tracking_uid, tracking_id) = source.sidecar, source.tracking
    measured = _volume_and_count(sidecar.volume_ml, sidecar.lesion_count)
    if sidecar.percent_of_brain is not None:
        share = sidecar.percent_of_brain
        measured.append(sr.Measurement(codes.PERCENT_OF_BRAIN, share, codes.PERCENT))
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(tracking_uid, tracking_id),
        referenced_segment=sr.ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            segment_number=1,
            source_series=sr.SourceSeriesForSegmentation(source.head.SeriesInstanceUID),
        ),
        finding_type=codes.type_of_output(sidecar.settings.output.name),
        finding_category=codes.ABNORMAL_STRUCTURE,
        finding_sites=[sr.FindingSite(codes.WHITE_MATTER)],
        algorithm_id=sr.AlgorithmIdentification(
            PROGRAM,
            version(PROGRAM),
            parameters=[source.settings_text],
            family=codes.ARTIFICIAL_INTELLIGENCE,
        ),
        measurements=measured,
    )


def _by_location(source: Source) -> Iterator[sr.MeasurementsAndQualitativeEvaluations]:
    for location, found in source.sidecar.locations.items():
        name = f"{source.output} {location}"
        yield sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(source.uid("location", name), name),
            finding_type=codes.type_of_output(source.sidecar.settings.output.name),
            finding_category=codes.ABNORMAL_STRUCTURE,
            finding_sites=[sr.FindingSite(codes.site_of_location(location))],
            measurements=_volume_and_count(found.volume_ml, found.lesion_count),
        )


def _volume_and_count(volume_ml: float, count: int) -> list[sr.Measurement]:
    return [
        sr.Measurement(codes.VOLUME, volume_ml, codes.MILLILITER),
        sr.Measurement(codes.NUMBER_OF_LESIONS, count, codes.COUNT),
    ]


def _comment(text: str) -> Dataset:
    return sr.TextContentItem(
        codes.COMMENT, text, relationship_type=sr.RelationshipTypeValues.CONTAINS
    )
