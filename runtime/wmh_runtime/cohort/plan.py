"""Plan a job: find the scans, and check that the options, the folders and the bundle fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import Manifest
from wmh_runtime.cohort.case.atlas import Atlas
from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.longitudinal import SESSIONS, read_visits
from wmh_runtime.cohort.sharing.shard import Shard
from wmh_runtime.dataset.bids_dataset import read_bids_dataset
from wmh_runtime.dataset.channels import ChannelRules
from wmh_runtime.dataset.discovery import find_cases
from wmh_runtime.dataset.image_formats import is_image
from wmh_runtime.dataset.manual_masks import find_manual_masks
from wmh_runtime.dataset.search import holds_only_dicom
from wmh_runtime.dataset.visit_filter import ALL_VISITS, VisitFilter
from wmh_runtime.dicom.library import require_dicom
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import is_written_by_us
from wmh_runtime.inference.backend_selection import AUTO
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.outputs.paths import NO_EXTRAS, Extras
from wmh_runtime.outputs.reviews import read_reviews
from wmh_runtime.preprocessing.registration import require_registration

if TYPE_CHECKING:  # needs optional libraries
    from wmh_runtime.dicom.scans import DicomScans

_T1 = "t1"


@dataclass(frozen=True)
class FolderOptions:
    """Which scans of a folder are segmented, and what is measured and written besides.

    Args:
        pattern: glob; exactly the images whose path matches are scans, whatever their names say.
            It is compared from the end of the path: `*_T2.nii.gz`, `orig/FLAIR.nii.gz`. None: the
            names decide.
        t1_pattern: the same for the T1 images of a bundle that takes FLAIR and T1.
        visits: participants and sessions to take; the default takes all.
        reviewed: marks of readers that the report saved. They are added to `reviews.tsv` in the
            output folder, which later runs read.
        longitudinal: `sessions`: compare the visits of each subject, as the names say subjects and
            sessions; or a table with the columns subject, visit, scan and perhaps date. Probability
            maps and regions are then written, too. Needs SimpleITK.
        register: register the T1 of each scan to its FLAIR first; needs SimpleITK.
        regions_bundle: predicts the regions instead of the bundle, which may have none.
        atlas: of the user; the lesions in each of its regions are measured, too.
        extras: files to write besides.
        overwrite: replace existing results.
        fail_fast: begin no more scans after the first failure.
        series: of a DICOM source, the series to segment in each study: its number, its UID, or a
            pattern for its description, such as `*FLAIR*`. Empty: the parameters of the sequences
            decide.
        pseudonyms: folder of a secret key and a table of correspondence, outside of the results.
            Scans from DICOM are then named by pseudonyms of the patients. None: by study.
        shard: the part of the scans to segment; other runs segment the others. None: all of them.
    """

    pattern: str | None = None
    t1_pattern: str | None = None
    visits: VisitFilter = ALL_VISITS
    reviewed: Path | None = None
    longitudinal: Path | str | None = None
    register: bool = False
    regions_bundle: Bundle | None = None
    atlas: Atlas | None = None
    extras: Extras = NO_EXTRAS
    overwrite: bool = False
    fail_fast: bool = False
    series: str = ""
    pseudonyms: Path | None = None
    shard: Shard | None = None


def plan_job(
    source: Path | str,
    out: Path | str,
    bundle: Bundle,
    options: InferenceOptions | None = None,
    folder_options: FolderOptions | None = None,
) -> Job:
    """Find what `segment_folder` would do, without opening the bundle or writing anything.

    The arguments are those of `segment_folder`, but all folders are on this machine.

    Raises:
        InputError: as `segment_folder`.
        BundleError: as `segment_folder`.
    """
    source, out = Path(source), Path(out)
    options, wanted = options or InferenceOptions(), folder_options or FolderOptions()
    outputs = options.outputs(bundle)
    _require_output_folder(out, source)
    for used in (bundle, wanted.regions_bundle):
        if used is not None:
            used.manifest.preprocessing.require_installed()
    rules = _channel_rules(bundle.manifest, wanted.pattern, wanted.t1_pattern)
    if wanted.longitudinal is not None:
        require_registration("longitudinal")
    if wanted.register:
        require_registration("register")
        if len(rules.channels) == 1:
            problem = "needs two images of a head, but the bundle takes one"
            raise InputError(problem, "Leave it out, or use another bundle.", about="register")
    dicom = _find_dicom(source, out, rules, wanted)
    if dicom is None:
        _require_separate_results(out, source, rules)
        found = with_manual = find_cases(source, out, rules, wanted.visits)
    else:
        found = replace(dicom.found, scans=wanted.visits.apply(dicom.found.scans, source))
        # Corrected masks are where the user has the scans, not where they are converted to.
        with_manual = replace(found, root=source if source.is_dir() else source.parent)
    if wanted.reviewed is not None:
        read_reviews(wanted.reviewed)  # refused now, if it is wrong
    visit_table = None
    if wanted.longitudinal not in (None, SESSIONS):
        visit_table = read_visits(Path(str(wanted.longitudinal)), found, out, outputs[0].name)
    if wanted.atlas is not None:
        wanted.atlas.require_files(found.scans)
    knows_all = source.is_dir() and wanted.visits == ALL_VISITS
    return Job(
        found,
        out,
        bundle,
        outputs,
        manual=find_manual_masks(
            with_manual, [output.name for output in outputs], knows_all_scans=source.is_dir()
        ),
        tta=options.tta,
        extras=_extras(wanted, wanted.regions_bundle or bundle),
        overwrite=wanted.overwrite,
        fail_fast=wanted.fail_fast,
        any_backend=options.backend == AUTO,
        reviewed=wanted.reviewed,
        is_longitudinal=wanted.longitudinal is not None,
        visit_table=visit_table,
        register=wanted.register,
        regions_bundle=wanted.regions_bundle,
        atlas=wanted.atlas,
        dicom=dicom,
        threads=options.threads,
        origin=with_manual.root,
        knows_all=knows_all,
        shard=wanted.shard,
    )


def _find_dicom(
    source: Path, out: Path, rules: ChannelRules, wanted: FolderOptions
) -> DicomScans | None:
    """Find the scans in a DICOM source; None if it is none."""
    if not source.exists():
        return None  # the search for scans says so
    if not holds_only_dicom(source, out):
        given = {
            "series": wanted.series,
            "pseudonyms": wanted.pseudonyms,
            "dicom": wanted.extras.dicom,
        }
        for about in (name for name, value in given.items() if value):
            problem = f"is for DICOM files, but {source} has none, or has NIfTI scans, too"
            raise InputError(problem, "Give a folder of DICOM files only.", about=about)
        return None
    require_dicom(source)
    from wmh_runtime.dicom.names import open_names
    from wmh_runtime.dicom.scans import ScanRules, find_dicom_scans

    if wanted.pseudonyms and wanted.extras.dicom:
        problem = "would name the patients, but the other results have pseudonyms"
        raise InputError(problem, "Make the DICOM results in a run of their own.", about="dicom")
    for pattern, field in ((wanted.pattern, "pattern"), (wanted.t1_pattern, "t1_pattern")):
        if pattern is not None:
            raise InputError("is for NIfTI scans", "Use the series option.", about=field)
    names = open_names(wanted.pseudonyms, out)
    wanted_series = ScanRules(tuple(rules.channels), rules.interchangeable, wanted.series)
    return find_dicom_scans(source, out, wanted_series, names)


def _extras(wanted: FolderOptions, regions_bundle: Bundle) -> Extras:
    """Add what a comparison of visits needs: where boundaries and the brain are."""
    if wanted.longitudinal is None:
        return wanted.extras
    has_regions = bool(regions_bundle.manifest.regions)
    return replace(wanted.extras, probability=True, regions=wanted.extras.regions or has_regions)


def _channel_rules(manifest: Manifest, pattern: str | None, t1_pattern: str | None) -> ChannelRules:
    """Say which images are the channels of a bundle; InputError if it takes no T1 besides."""
    first, *others = manifest.channels
    patterns = {} if pattern is None else {first: pattern}
    if t1_pattern is not None:
        if _T1 not in others:
            problem = f"is given, but the bundle takes {', '.join(manifest.channels).upper()} only"
            raise InputError(problem, "Leave it out, or use another bundle.", about="t1_pattern")
        patterns[_T1] = t1_pattern
    return ChannelRules(tuple(manifest.channels), manifest.interchangeable, patterns)


def _require_output_folder(out: Path, source: Path) -> None:
    """Refuse an output folder with the name of an image: a mask file was probably meant."""
    if is_image(out):
        problem = "has the name of an image, expected a folder for the results"
        advice = f"Give a folder; the mask in it is named after {source.name}."
        raise InputError(problem, advice, about=out)


def _require_separate_results(out: Path, source: Path, rules: ChannelRules) -> None:
    """Refuse an output folder that would mix results with the scans.

    The output folder may be inside the source, or contain it. The results must not get into the
    folders of the scans, and there must be no scans in the output folder, which is not searched.
    The results of an earlier run, which a pattern may match, are not scans.
    """
    if not source.is_dir():
        return
    real_out, real_source = out.resolve(), source.resolve()
    if real_source.is_relative_to(real_out):
        inner = real_source.relative_to(real_out)
    elif real_out.is_relative_to(real_source):
        inner = real_out.relative_to(real_source)
        if inner.parts[:1] and inner.parts[0].startswith("sub-") and read_bids_dataset(source):
            problem = "as output folder is in the folder of a subject"
            raise InputError(problem, "Choose another folder, outside the scans.", about=out)
    else:
        return
    if any(
        case.relative.is_relative_to(inner) and not is_written_by_us(case.path)
        for case in find_cases(source, None, rules).scans
    ):
        problem = "as output folder would mix the results with the scans"
        raise InputError(problem, "Choose another folder, outside the scans.", about=out)
