"""The bundle: the folder that export leaves and that inference runs. Nothing else is read.

    bundle/
    ├── manifest.json     what this module describes
    ├── graphs/*.onnx     the network, of one view and of eight views
    ├── graphs/weights.bin    what both read their weights from
    └── MODEL_CARD.md

Opening a bundle verifies the hash of every file the manifest names and follows no path out of
the folder. Nothing in it is ever unpickled or executed as code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wmh_runtime.errors import BundleError
from wmh_runtime.invalid import problems_of
from wmh_runtime.prepare import Preparation
from wmh_runtime.types import NetworkShape, Precision, Views

SCHEMA_VERSION: Final = 1
MANIFEST_NAME = "manifest.json"
INTENDED_USE = "Research use only. Not a medical device; not for diagnosis or treatment decisions."

OutputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", description="part of file names")]


class _Part(BaseModel):
    """A part of the manifest: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Output(_Part):
    """One class the network segments, with the calibration of its mask."""

    name: OutputName
    threshold: float = Field(gt=0, le=1)
    min_lesion_mm3: float = Field(ge=0)


class File(_Part):
    """A file of the bundle."""

    path: str = Field(description="relative to the bundle, with forward slashes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Parity(_Part):
    """How far a graph is from the network it was exported from, as measured at export."""

    reference: str
    backend: str
    slices: int = Field(ge=1)
    max_abs_difference: float = Field(ge=0, description="of probability")
    mean_abs_difference: float = Field(ge=0, description="of probability")
    mask_dice: float = Field(ge=0, le=1, description="of the two thresholded masks, slices pooled")


class Graph(File):
    """One ONNX graph: float32 [N, C, S, S] in, probability float32 [N, K, S, S] out."""

    precision: Precision
    views: Views
    parity: Parity


class Training(_Part):
    """Where a model comes from."""

    data: str = Field(description="what the data set calls itself")
    training_scans: int
    validation_scans: int
    training_slices: int
    parameters: int
    trained_parameters: int
    details: dict[str, Any] = Field(description="recipe, losses, machine")


class Manifest(_Part):
    """Everything the runtime needs to know of a model."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    channels: list[str] = Field(min_length=1)
    outputs: list[Output] = Field(min_length=1)
    preparation: Preparation
    calibration: dict[str, Any] = Field(description="how thresholds and minimum sizes were chosen")
    graphs: list[Graph] = Field(min_length=1)
    weights: list[File] = Field(description="files the graphs read their weights from")
    default_precision: Precision = "fp32"
    training: Training
    tools: dict[str, str] = Field(description="versions of what made the bundle")
    licence: str
    intended_use: str = INTENDED_USE
    caution: str = Field(default="", description="a warning that every result shall bear")

    @property
    def network_shape(self) -> NetworkShape:
        """C, K and S of the graphs."""
        return NetworkShape(len(self.channels), len(self.outputs), self.preparation.size_px)

    @property
    def model_id(self) -> str:
        """Hash of all that decides a mask: graphs, weights, preparation, calibrated outputs.

        Defaults are left out, so that a later, optional field changes no bundle's id.
        """
        decisive = {
            "channels": self.channels,
            "outputs": [output.model_dump(exclude_defaults=True) for output in self.outputs],
            "preparation": self.preparation.model_dump(exclude_defaults=True),
            "files": sorted(file.sha256 for file in (*self.graphs, *self.weights)),
        }
        canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    folder: Path
    manifest: Manifest

    def graph(self, *, views: int, precision: str) -> Graph:
        """Return the graph of this many views and this precision.

        Raises:
            BundleError: the bundle has none.
        """
        for graph in self.manifest.graphs:
            if (graph.views, graph.precision) == (views, precision):
                return graph
        present = ", ".join(
            f"{graph.views}-view {graph.precision}" for graph in self.manifest.graphs
        )
        raise BundleError(
            f"has no {views}-view {precision} graph, only {present}",
            "Choose one of these, or export the bundle again.",
            about=self.folder,
        )

    def path_of(self, file: File) -> Path:
        """Return where a file of the bundle lies."""
        return self.folder / file.path


def open_bundle(name_or_folder: str | Path) -> Bundle:
    """Open a bundle by the name of one that comes with the program, or by its folder.

    Raises:
        BundleError: it is missing, incomplete, altered, of a newer schema, or points outside.
    """
    try:
        folder = _folder_of(name_or_folder)
        manifest = _read_manifest(folder)
        files = (*manifest.graphs, *manifest.weights)
        for file in files:
            _verify(folder, file)
        _require_nothing_else(folder, files)
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({error})"
        raise BundleError(problem, "Check its permissions.", about=name_or_folder) from error
    return Bundle(folder, manifest)


def shipped_bundles() -> list[str]:
    """Return the names of the bundles that come with the program."""
    return sorted(path.parent.name for path in _shipped_folder().glob(f"*/{MANIFEST_NAME}"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _shipped_folder() -> Path:
    return Path(str(resources.files("wmh_runtime"))) / "bundles"


def _folder_of(name_or_folder: str | Path) -> Path:
    """A shipped bundle's name wins only where no folder of that name holds a bundle."""
    folder = Path(name_or_folder)
    if (folder / MANIFEST_NAME).is_file():
        return folder
    if str(name_or_folder) in shipped_bundles():
        return _shipped_folder() / str(name_or_folder)
    found = "is a folder without manifest.json" if folder.is_dir() else "is not a bundle folder"
    raise BundleError(
        found,
        f"Give a folder written by wmh-export, or one of: {', '.join(shipped_bundles())}.",
        about=name_or_folder,
    )


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"cannot be read: {error}", "Copy the bundle again.", about=path
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"has schema version {version}, this program reads up to {SCHEMA_VERSION}",
            "Upgrade wmh-lora, or export the bundle with this version.",
            about=path,
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise BundleError(
            f"is not a valid manifest: {problems_of(error)}",
            "Copy or export it again.",
            about=path,
        ) from error


def _verify(folder: Path, file: File) -> None:
    path = folder / file.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"names {file.path}, outside the bundle", "Do not use it.", about=folder)
    if not path.is_file():
        raise BundleError("is missing", "Copy the whole bundle folder again.", about=path)
    found = sha256_of(path)
    if found != file.sha256:
        raise BundleError(
            f"has SHA-256 {found[:12]}…, the manifest says {file.sha256[:12]}…",
            "The file was altered or copied incompletely: copy the bundle again.",
            about=path,
        )


def _require_nothing_else(folder: Path, files: tuple[File, ...]) -> None:
    """Refuse files beside the graphs that the manifest does not name: a graph might read them."""
    named = {folder / file.path for file in files}
    for place in {path.parent for path in named}:
        for path in sorted(place.iterdir()):
            if path.is_file() and path not in named:
                raise BundleError(
                    f"holds {path.name}, which its manifest does not name",
                    "Remove it, or copy the bundle again.",
                    about=place,
                )
