"""The images of each channel of a model, among all images of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.dataset.bids import DERIVATIVES
from wmh_runtime.dataset.names.contrast import IN_DOUBT, contrast_from_names
from wmh_runtime.dataset.names.versions import find_processed_versions
from wmh_runtime.dataset.names.vocabulary import FLAIR, MASK


@dataclass(frozen=True)
class ChannelRules:
    """The channels of a model, and what says which images they are."""

    channels: Sequence[str] = ("flair",)  # the first has the grid and the name of the result
    interchangeable: bool = False  # any may be missing, but not all
    patterns: Mapping[str, str] = field(default_factory=dict)  # channel → glob; else names decide


@dataclass
class ChannelImages:
    """The images of one channel, and why the others are not."""

    scans: list[Path] = field(default_factory=list)
    others: dict[Path, tuple[str, str]] = field(default_factory=dict)  # kind and reason


def select_images(images: Sequence[Path], channel: str, rules: ChannelRules) -> ChannelImages:
    """Select the images of a channel. Without a name for a contrast, they are of the first one."""
    pattern = rules.patterns.get(channel)
    if pattern is None:
        images = [path for path in images if DERIVATIVES not in path.parts[:-1]]
        return _select_by_name(images, channel, with_unnamed=channel == rules.channels[0])
    selection = ChannelImages()
    for path in images:
        if path.match(pattern):
            selection.scans.append(path)
        else:
            selection.others[path] = ("other image", "does not match the pattern")
    return selection


def _select_by_name(images: Sequence[Path], channel: str, *, with_unnamed: bool) -> ChannelImages:
    """Select the images that are of a channel by their names.

    Args:
        images: relative to one folder.
        channel: such as `flair`.
        with_unnamed: take the images whose names say no contrast, if none says this one.
    """
    named: list[Path] = []
    in_doubt: list[Path] = []  # FLAIR or not: segmented with a warning
    unnamed: list[Path] = []  # the names say no contrast
    selection = ChannelImages()
    for path in images:
        contrast = contrast_from_names(path)
        if is_of_channel(contrast, channel):
            named.append(path)
        elif contrast is None:
            unnamed.append(path)
        elif contrast in IN_DOUBT and channel == "flair":
            in_doubt.append(path)
        elif contrast == MASK:
            reason = "a mask or a probability map, by its name or folder"
            selection.others[path] = ("mask", reason)
        else:
            selection.others[path] = (f"{contrast} image", f"{contrast}, by its name or folder")
    if named:
        for path in unnamed:
            reason = (
                f"its name says no contrast, and other files are {channel.upper()} by their names"
            )
            selection.others[path] = ("unknown image", reason)
    scans = (named or (unnamed if with_unnamed else [])) + in_doubt
    versions = find_processed_versions(scans)
    for path, scan in versions.items():
        selection.others[path] = ("processed version", f"another version of {scan.as_posix()}")
    selection.scans = [path for path in scans if path not in versions]
    return selection


def is_of_channel(contrast: str | None, channel: str) -> bool:
    """Return whether the names say this contrast; those in doubt do not."""
    return contrast == (FLAIR if channel == "flair" else channel.upper())
