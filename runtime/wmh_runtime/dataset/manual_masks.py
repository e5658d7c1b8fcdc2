"""Corrected masks in `derivatives/manual` of the input folder, each for an output of a scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.dataset.bids import MANUAL, bids_entities, mask_name
from wmh_runtime.dataset.discovery import Discovery
from wmh_runtime.dataset.image_formats import image_stem, is_image
from wmh_runtime.dataset.search import Skipped
from wmh_runtime.files.folders import is_hidden, walk
from wmh_runtime.files.os_errors import input_error

_KIND = "corrected mask"


@dataclass(frozen=True)
class ManualMasks:
    """Which corrected masks are used, and why others are not."""

    by_scan: Mapping[Path, Mapping[str, Path]] = field(default_factory=dict)  # relative; output
    unused: Sequence[Skipped] = ()  # paths are relative to the input folder

    def of_scan(self, relative: Path) -> Mapping[str, Path]:
        """Return the masks of a scan by output, such as `wmh`."""
        return self.by_scan.get(relative, {})


NO_MANUAL_MASKS = ManualMasks()


def find_manual_masks(
    found: Discovery, outputs: Sequence[str], *, knows_all_scans: bool
) -> ManualMasks:
    """Find the corrected mask of each scan; it has the folder and the name of the mask.

    Masks of images of the input folder that are not segmented in this run are neither used nor
    reported as unused.

    Args:
        found: the scans to segment.
        outputs: of the model.
        knows_all_scans: a whole folder was searched. Otherwise a mask may be of a scan that is not
            known, so its name cannot be wrong.

    Raises:
        InputError: a folder cannot be read: which masks to use is not known.
    """
    scans = {case.relative for case in found.scans}
    targets = {
        _target(relative, output): (relative, output)
        for relative in {case.relative for case in found.images} | scans
        for output in outputs
    }
    example = (
        _target(found.scans[0].relative, outputs[0]).as_posix() if found.scans and outputs else ""
    )
    by_scan: dict[Path, dict[str, Path]] = {}
    unused = []
    for path in _images_in(found.root / MANUAL):
        inner = path.relative_to(found.root / MANUAL)
        target = targets.get(inner.with_name(image_stem(inner)))
        if reason := _why_unused(target, by_scan, f"{example}.nii.gz"):
            if knows_all_scans or target:
                unused.append(Skipped(MANUAL / inner, _KIND, reason))
        elif target is not None and target[0] in scans:
            by_scan.setdefault(target[0], {})[target[1]] = path
    return ManualMasks(by_scan, unused)


def _target(relative: Path, output: str) -> Path:
    """Return where the mask of a scan is, without the suffix of its format."""
    name = image_stem(Path(mask_name(bids_entities(relative), output)))
    return relative.with_name(name)


def _images_in(folder: Path) -> Iterable[Path]:
    def refuse(error: OSError) -> None:
        raise input_error(error, "is a folder of corrected masks that cannot be read", folder)

    if not folder.exists():
        return
    for inner, subfolders, names in walk(folder, refuse):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        yield from (inner / name for name in names if is_image(Path(name)) and not is_hidden(name))


def _why_unused(
    target: tuple[Path, str] | None, by_scan: Mapping[Path, Mapping[str, Path]], example: str
) -> str | None:
    """Return why a mask is not used. A link to a file that is missing is: it fails its scan."""
    if target is None:
        return f"its folder and name are not those of the mask of a scan, such as {example}"
    relative, output = target
    other = by_scan.get(relative, {}).get(output)
    return f"{other.name} is of the same scan" if other else None
