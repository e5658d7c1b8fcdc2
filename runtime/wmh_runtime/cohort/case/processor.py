"""One case, from its files to the files of its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from wmh_runtime.cohort.case.corrected_masks import describe_manual_masks, read_manual_masks
from wmh_runtime.cohort.case.images import read_images, register_images
from wmh_runtime.cohort.job import Job
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError
from wmh_runtime.image_quality.measure import QualityMeasure
from wmh_runtime.image_quality.quality import measure_quality
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.inference.trace import OnSpan, StageTimes
from wmh_runtime.outputs.describe import CaseInputs
from wmh_runtime.outputs.paths import OutputPaths
from wmh_runtime.outputs.settings import Provenance
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.outputs.writer import write_results
from wmh_runtime.postprocessing.atlas_burden import with_atlas
from wmh_runtime.postprocessing.postprocess import Segmentation, postprocess
from wmh_runtime.preprocessing.channels import present_images
from wmh_runtime.preprocessing.preprocess import PreprocessedScan, preprocess
from wmh_runtime.preprocessing.registration import Registration
from wmh_runtime.types import Mask, Prediction

_FLAIR = "flair"  # the bounds of image quality are those of FLAIR scans


@dataclass(frozen=True, eq=False)
class _ReadCase:
    """What is read of a case, ready for the network."""

    images: Mapping[str, Scan]  # by channel, as they were used
    registrations: Mapping[str, Registration]
    preprocessed: PreprocessedScan
    manual_masks: Mapping[str, Mask]  # corrected, by output
    manual_warnings: Sequence[str]


class CaseProcessor:
    """Segments cases. Several threads may call it at a time.

    Args:
        job: what to do.
        segmenter: open.
        provenance: for the sidecars.
        on_span: is called with what each thread does.
        region_segmenter: open, of a bundle that predicts the regions; None: the job's bundle does.
    """

    def __init__(
        self,
        job: Job,
        segmenter: Segmenter,
        provenance: Provenance,
        on_span: OnSpan,
        region_segmenter: Segmenter | None = None,
    ) -> None:
        self._job = job
        self._segmenter = segmenter
        self._provenance = provenance
        self._on_span = on_span
        self._region_segmenter = region_segmenter

    def process(
        self,
        case: Case,
        paths: Sequence[OutputPaths],
        on_progress: Callable[[float], None],
        before_writing: Callable[[], None],
    ) -> list[Sidecar]:
        """Segment one case, from its files to the files of its results.

        Args:
            case: the scan, with its further images.
            paths: of the results, for each output.
            on_progress: called with the share of the network's work that is done, 0 to 1.
            before_writing: called before the first file is written; what it raises is raised.

        Raises:
            InputError: a file cannot be used or written.
        """
        stage = StageTimes(self._on_span)
        read = self._read(case, stage)
        prediction = self._segmenter.predictor.predict(read.preprocessed.slices, on_progress)
        stage.seconds["predict"] = prediction.seconds  # of the device, without waiting for it
        read = replace(read, preprocessed=read.preprocessed.without_slices())
        known_regions, region_warnings = self._known_regions(read.preprocessed)
        with stage("postprocess"):
            regions = known_regions
            if regions is None:
                regions = self._segmenter.regions_of(prediction, read.preprocessed.geometry)
            prediction = prediction.of_outputs(len(self._segmenter.model.outputs))
            segmentation = self._postprocess(case, read, prediction, regions, region_warnings)
            del prediction  # a large scan needs the memory
            quality = quality_of_case(case, read.preprocessed, segmentation)
        channels = self._segmenter.model.channels
        _, *further = present_images(channels, read.preprocessed.channels).items()
        before_writing()
        with stage("write"):
            inputs = CaseInputs(
                images=read.images,
                sources=case.sources_of(read.images),
                registrations=read.registrations,
                atlas=self._job.atlas.inputs(case) if self._job.atlas else None,
                manual=describe_manual_masks(case, self._job.manual.of_scan(case.relative)),
                quality=quality,
                seconds=stage.seconds,
                versions=case.versions,
            )
            return write_results(
                inputs,
                segmentation,
                self._provenance,
                paths,
                self._job.region_paths(case),
                extras=self._job.extras,
                others=dict(further),
            )

    def _read(self, case: Case, stage: StageTimes) -> _ReadCase:
        model = self._segmenter.model
        with stage("read"):
            images = read_images(case, model.channels)
        with stage("preprocess"):
            registrations = register_images(images) if self._job.register else {}
            images |= {channel: one.scan for channel, one in registrations.items()}
            scans = [images.get(channel) for channel in model.channels]
            preprocessed = preprocess(scans, model.preprocessing)
            # One that cannot be used fails the case before the network runs.
            manual = read_manual_masks(
                self._job.manual.of_scan(case.relative), preprocessed.scan, preprocessed.head
            )
        return _ReadCase(images, registrations, preprocessed, *manual)

    def _postprocess(
        self,
        case: Case,
        read: _ReadCase,
        prediction: Prediction,
        regions: Mapping[str, Mask],
        region_warnings: Sequence[str],
    ) -> Segmentation:
        model = self._segmenter.model
        segmentation = postprocess(
            prediction,
            read.preprocessed,
            model.outputs,
            model.regions,
            model.channels,
            regions,
            read.manual_masks,
        )
        if read.manual_warnings or region_warnings:
            warnings = (*segmentation.warnings, *read.manual_warnings)
            new = [f"regions: {line}" for line in region_warnings if line not in warnings]
            segmentation = replace(segmentation, warnings=(*warnings, *new))
        if self._job.atlas is not None:
            atlas = self._job.atlas.read(case, read.preprocessed.scan)
            segmentation = with_atlas(segmentation, atlas, read.preprocessed.scan)
        return segmentation

    def _known_regions(
        self, preprocessed: PreprocessedScan
    ) -> tuple[Mapping[str, Mask] | None, Sequence[str]]:
        """Return what the bundle for regions finds, and its warnings; None if there is none."""
        segmenter, bundle = self._region_segmenter, self._job.regions_bundle
        if segmenter is None or bundle is None:
            return None, ()
        images = present_images(self._segmenter.model.channels, preprocessed.channels)
        wanted = segmenter.model.channels
        known = {name: image for name, image in images.items() if name in wanted}
        if not known or (len(known) < len(wanted) and not segmenter.model.interchangeable):
            lacking = " and ".join(name.upper() for name in wanted if name not in known)
            problem = f"has no {lacking}, which the bundle for regions needs"
            advice = "Give the image, or segment this scan without that bundle."
            raise InputError(problem, advice, about=preprocessed.scan.path)
        regions, warnings = segmenter.find_regions(known)
        of_author = bundle.manifest.warning
        return regions, [of_author, *warnings] if of_author else warnings


def quality_of_case(
    case: Case, preprocessed: PreprocessedScan, segmentation: Segmentation
) -> Sequence[QualityMeasure]:
    """Measure the quality of a scan; nothing if it is no FLAIR.

    Args:
        case: that was segmented.
        preprocessed: its first image, and the background of it.
        segmentation: of the scan.
    """
    if case.channel != _FLAIR:
        return ()
    labels = [result.lesions.labels for result in segmentation.results]
    nothing = np.zeros(preprocessed.head.shape, np.bool_)
    return measure_quality(
        preprocessed.scan,
        segmentation.head,
        segmentation.regions,
        reduce(np.maximum, labels) if labels else nothing,
        preprocessed.background,
    )
