"""Results of earlier runs: which are kept, and which a new run would destroy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.bids import sidecar_of
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError
from wmh_runtime.files.folders import is_hidden
from wmh_runtime.files.reading import is_file
from wmh_runtime.imageio.image_files import sha256_of_image
from wmh_runtime.outputs.paths import Extras, LabelMapPaths, OutputPaths
from wmh_runtime.outputs.settings import Settings
from wmh_runtime.outputs.sidecar import AtlasInput, ManualMask, Sidecar, is_as_written, read_sidecar
from wmh_runtime.postprocessing.parcellation import ATLAS_SCHEME, BRAIN_SCHEME
from wmh_runtime.text import count_noun

_REPLACE = "Use the overwrite option to replace it, or choose another output folder."
_REPLACE_ALL = "Use the overwrite option to replace them, or choose another output folder."


def find_finished_results(
    case: Case,
    paths: Sequence[OutputPaths],
    regions: Mapping[str, LabelMapPaths],
    settings: Sequence[Settings],
    *,
    extras: Extras,
    any_backend: bool,
    atlas: AtlasInput | None = None,
    manual: Mapping[str, ManualMask] | None = None,
    is_of_same_input: bool = False,
    reads_images: bool = True,
) -> list[Sidecar] | None:
    """Return the sidecars of a scan that is finished; None if it has to be segmented.

    Args:
        case: the scan, with its further images.
        paths: of the results, for each output.
        regions: of the results, for each scheme.
        settings: of this run, for each output.
        extras: what a finished scan has besides.
        any_backend: results of another backend or device, in the same precision, are kept.
        atlas: that a finished scan has lesions by region of; None: any or none.
        manual: corrected masks that a finished scan is of, by output.
        is_of_same_input: it is known that the results are of the same input, which is not read to
            compare it.
        reads_images: look into the images of the results, whether this program wrote them. If not,
            it is enough that they are there.

    Raises:
        InputError: there is a result of another input or with other settings, or an image of
            another program in its place.
    """
    if reads_images:
        _require_own_files(case, paths, regions, extras, has_atlas=atlas is not None)
    if not all(to.sidecar.exists() for to in paths):
        return None
    sidecars = _read_sidecars(case, paths)
    try:
        sha256 = None if is_of_same_input else _sha256_of(case)
    except OSError:
        return None  # reading the scan will report the reason
    for to, sidecar, current in zip(paths, sidecars, settings, strict=True):
        before = {channel: one.sha256 for channel, one in sidecar.channels.items()}
        if sha256 not in (None, before or {case.channel: sidecar.input_sha256}):
            problem = f"has a result of another input, {to.sidecar.name}"
            raise InputError(problem, _REPLACE, about=case.path)
        if differences := _differences(sidecar, current, any_backend=any_backend):
            problem = f"has a result with other settings, {to.sidecar.name}: {differences}"
            raise InputError(problem, _REPLACE, about=case.path)
    files = _files(paths, regions, sidecars, extras, has_atlas=atlas is not None)
    is_of_atlas = atlas is None or all(one.atlas == atlas for one in sidecars)
    taken = {one.settings.output.name: one.manual for one in sidecars if one.manual}
    is_finished = taken == dict(manual or {}) and all(path.exists() for path in files)
    return sidecars if is_of_atlas and is_finished else None


def require_replaceable_results(
    case: Case,
    paths: Sequence[OutputPaths],
    regions: Mapping[str, LabelMapPaths],
    *,
    extras: Extras,
    has_atlas: bool = False,
    manual: Mapping[str, ManualMask] | None = None,
) -> None:
    """Refuse to replace files of other programs, and masks that were changed by hand.

    The arguments are those of `find_finished_results`.

    Raises:
        InputError: there are such files.
    """
    _require_own_files(case, paths, regions, extras, has_atlas=has_atlas)
    if all(to.sidecar.exists() for to in paths):
        _require_replaceable_masks(case, paths, _read_sidecars(case, paths), manual or {})


def sidecars_in(out: Path) -> frozenset[Path]:
    """Return the paths of all sidecars in an output folder, whichever version wrote them.

    It lists folders, and asks for no file that may be missing. On NFS, a machine remembers for up
    to a minute that a file is missing, and would not see what another machine writes meanwhile.
    """
    found = set[Path]()
    for folder, subfolders, names in os.walk(out):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        found |= {Path(folder, name) for name in names if name.endswith(bids.SIDECAR_SUFFIX)}
    return frozenset(found)


def _sha256_of(case: Case) -> dict[str, str]:
    images = {case.channel: case.path, **case.others}
    return {channel: sha256_of_image(path) for channel, path in images.items()}


def _require_own_files(
    case: Case,
    paths: Sequence[OutputPaths],
    regions: Mapping[str, LabelMapPaths],
    extras: Extras,
    *,
    has_atlas: bool,
) -> None:
    """Refuse to replace files of other programs; InputError."""
    for scheme, of_scheme in regions.items() if extras.regions else ():
        is_written = scheme != ATLAS_SCHEME or has_atlas
        if is_written and of_scheme.hold_foreign_files:
            name = of_scheme.image.name
            problem = f"would replace regions that this program did not write ({name})"
            raise InputError(problem, _REPLACE, about=case.path)
    for to in paths:
        is_new = not to.sidecar.exists()
        if (is_new and to.hold_foreign_files) or to.lesions.hold_foreign_files:
            problem = f"would replace files that this program did not write ({to.mask.name} …)"
            raise InputError(problem, _REPLACE, about=case.path)


def _read_sidecars(case: Case, paths: Sequence[OutputPaths]) -> list[Sidecar]:
    """Read the sidecars of all outputs; InputError if one is not of this version."""
    sidecars = [sidecar for to in paths if (sidecar := read_sidecar(to.sidecar)) is not None]
    if len(sidecars) < len(paths):
        problem = f"has a result that this version cannot read, {paths[0].sidecar.name}"
        raise InputError(problem, _REPLACE, about=case.path)
    return sidecars


def _files(
    paths: Sequence[OutputPaths],
    regions: Mapping[str, LabelMapPaths],
    sidecars: Sequence[Sidecar],
    extras: Extras,
    *,
    has_atlas: bool,
) -> list[Path]:
    """Return the files that a finished scan has."""
    files = [path for to in paths for path in (to.mask, to.picture, to.slices, *to.lesions.files)]
    if extras.probability:
        files += [path for to in paths for path in _with_sidecar(to.probability)]
    if extras.regions or has_atlas:
        files += [path for to in paths for path in _with_sidecar(to.regions)]
    if extras.regions:
        schemes = [BRAIN_SCHEME] if sidecars[0].regions_ml else []
        schemes += [ATLAS_SCHEME] if has_atlas else []
        files += [path for scheme in schemes for path in regions[scheme].files]
    return files


def _require_replaceable_masks(
    case: Case,
    paths: Sequence[OutputPaths],
    sidecars: Sequence[Sidecar],
    manual: Mapping[str, ManualMask],
) -> None:
    """Refuse to replace a mask that was changed by hand, unless it is kept as a corrected mask."""
    for to, sidecar in zip(paths, sidecars, strict=True):
        is_changed = is_file(to.mask) and not is_as_written(to.mask, sidecar)
        copy = manual.get(sidecar.settings.output.name)
        if is_changed and not (copy and copy.sha256 == sha256_of_image(to.mask)):
            problem = f"has a mask that was changed by hand, {to.mask.name}"
            raise InputError(problem, _REPLACE, about=case.path)


def _with_sidecar(file: Path) -> tuple[Path, Path]:
    return file, sidecar_of(file)


def require_same_settings(
    out: Path,
    scans: Iterable[Sequence[OutputPaths]],
    settings: Sequence[Settings],
    existing: Collection[Path],
    *,
    any_backend: bool,
) -> None:
    """Refuse an output folder in which no result was made with these settings.

    Results that cannot be read are of another version of this program, and so of other settings.

    Args:
        out: the folder.
        scans: for each scan, the paths of its results for each output.
        settings: of this run, for each output.
        existing: sidecars that were there when this run began.
        any_backend: as of `find_finished_results`.

    Raises:
        InputError: there are results, and none of them has these settings.
    """
    others: Counter[str] = Counter()
    unreadable: list[Path] = []
    for paths in scans:
        for to, current in zip(paths, settings, strict=True):
            if to.sidecar not in existing:
                continue
            if (sidecar := read_sidecar(to.sidecar)) is None:
                unreadable += [to.sidecar] if is_file(to.sidecar) else []
                continue
            differences = _differences(sidecar, current, any_backend=any_backend)
            if not differences:
                return  # one is enough: no more files are read
            others[differences] += 1
    if unreadable:
        raise InputError(unreadable_results(unreadable), _REPLACE_ALL, about=out)
    if others:
        ((differences_of_most, count),) = others.most_common(1)
        problem = f"has {count_noun(count, 'result')} with other settings: {differences_of_most}"
        raise InputError(problem, _REPLACE_ALL, about=out)


def _differences(sidecar: Sidecar, current: Settings, *, any_backend: bool) -> str:
    """Name the settings that differ from those of this run: `threshold (0.5, now 0.6)`."""
    differences = sidecar.settings.differences(current, any_backend=any_backend)
    return ", ".join(f"{name} ({old}, now {new})" for name, (old, new) in differences.items())


def unreadable_results(sidecars: Sequence[Path]) -> str:
    """Say how many results cannot be read."""
    count = count_noun(len(sidecars), "result")
    return f"has {count} that this version cannot read, such as {sidecars[0].name}"
