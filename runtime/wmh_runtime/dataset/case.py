"""A case: the images of one visit, to segment together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.dataset.names.contrast import IN_DOUBT, contrast_from_names
from wmh_runtime.dataset.names.pairs import ImageName

INPUT_NAME = "raw"  # of the input among the data sets that results link to
_URI_OF_INPUT = f"bids:{INPUT_NAME}:"


@dataclass(frozen=True)
class Case:
    """One scan to segment, with further images of the same head."""

    path: Path  # of the scan; the result has its grid and its name
    relative: Path  # to the input folder; results get the same relative path
    channel: str = "flair"  # that the scan is
    others: Mapping[str, Path] = field(default_factory=dict)  # further channels → their images
    dataset: Path | None = None  # root of the BIDS data set that it is from; None: of none
    origin: str = ""  # what the scan was converted from, for the user; empty: it was not
    notes: tuple[str, ...] = ()  # warnings about that
    versions: Mapping[str, str] = field(default_factory=dict)  # of images in object storage

    def image_of(self, channel: str) -> Path | None:
        """Return the image of a channel; None if it is missing."""
        return self.path if channel == self.channel else self.others.get(channel)

    def sources_of(self, channels: Iterable[str]) -> list[str]:
        """Return the BIDS URIs of the images of channels; outside of a data set, file names."""
        return [self.source_of(image) for image in map(self.image_of, channels) if image]

    def source_of(self, file: Path) -> str:
        """Return the BIDS URI of a file of the data set; outside of one, its name."""
        if self.dataset is None:
            return file.name
        return f"{_URI_OF_INPUT}{file.relative_to(self.dataset).as_posix()}"

    @property
    def contrast(self) -> str | None:
        """The contrast that the names say, None if they say none."""
        return contrast_from_names(self.relative)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be known of its files: notes, and names that say another contrast."""
        agents = tuple(
            f"the name of {path.name} says contrast agent, which models of {channel.upper()} do"
            " not know"
            for channel, path in self.others.items()
            if ImageName.of(path).has_agent
        )
        return (*self.notes, *self._contrast_warnings, *agents)

    @property
    def _contrast_warnings(self) -> tuple[str, ...]:
        if self.contrast is None or self.contrast.lower() == self.channel:
            return ()
        if self.contrast in IN_DOUBT and self.channel == "flair":
            return (f"its name says {self.contrast}: check that it is a T2-weighted FLAIR scan",)
        return (f"its name says {self.contrast}, but it is taken as {self.channel.upper()}",)
