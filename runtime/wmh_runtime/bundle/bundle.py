"""The bundle: the folder that export leaves and that inference runs. Nothing else is read.

    bundle/
    ├── manifest.json            all that the runtime needs to know
    ├── graphs/8-view.fp32.onnx  the network, of one view and of eight, in each precision
    ├── graphs/weights.fp32.bin  what both graphs of a precision read their weights from
    ├── engines/                 graphs compiled for particular GPUs
    ├── reference_outputs.npz              slices, and what the trained network says of them
    └── MODEL_CARD.md

Opening a bundle verifies the hash of every file the manifest names and follows no path out of
the folder. Nothing in it is ever unpickled or executed as code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from wmh_runtime.bundle.manifest import SCHEMA_VERSION, File, Graph, Manifest
from wmh_runtime.errors import BundleError
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.precision import WRITTEN_AS, Precision
from wmh_runtime.schema import describe_validation_error
from wmh_runtime.tta import Views

MANIFEST_NAME = "manifest.json"
REFERENCE_OUTPUTS_NAME = "reference_outputs.npz"
CARD_NAME = "MODEL_CARD.md"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    folder: Path
    manifest: Manifest

    def graph(self, *, views: Views, precision: Precision) -> Graph:
        """Return the graph to compute so many views in this precision with.

        Raises:
            BundleError: the bundle has none.
        """
        written = WRITTEN_AS[precision]
        for graph in self.manifest.graphs:
            if (graph.views, graph.precision) == (views, written):
                return graph
        present = ", ".join(
            f"{graph.views}-view {graph.precision}" for graph in self.manifest.graphs
        )
        raise BundleError(
            f"has no {views}-view {written} graph, only {present}",
            "Choose one of these, or export the bundle again.",
            about=self.folder,
        )

    def verify_engines(self) -> None:
        """Compare all engines with the manifest.

        Raises:
            BundleError: one is missing or altered.
        """
        for engine in self.manifest.engines:
            self.verify(engine)

    def verify(self, file: File) -> None:
        """Compare one file with the manifest.

        Raises:
            BundleError: it is missing, altered, or outside the bundle.
        """
        _verify(self.folder, file)

    def network_sha256(self, graph: Graph) -> str:
        """Return the hash of a graph and of the weights it reads, which its own file only names."""
        weights = [file.sha256 for file in self.manifest.weights if file.path == graph.weights]
        return hashlib.sha256("".join([graph.sha256, *weights]).encode()).hexdigest()

    def path_of(self, file: File) -> Path:
        """Return where a file of the bundle lies."""
        return self.folder / file.path


def open_bundle(name_or_folder: str | Path) -> Bundle:
    """Open a bundle by the name of one that comes with the program, or by its folder.

    All that any machine uses is verified; engines are where they are used.

    Raises:
        BundleError: it is missing, incomplete, altered, of a newer schema, or points outside.
    """
    try:
        folder = _folder_of(name_or_folder)
        manifest = _read_manifest(folder)
        for file in manifest.files:
            if file not in manifest.engines:
                _verify(folder, file)
        _require_nothing_else(folder, (*manifest.graphs, *manifest.weights))
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({error})"
        raise BundleError(problem, "Check its permissions.", about=name_or_folder) from error
    return Bundle(folder, manifest)


def shipped_bundles() -> list[str]:
    """Return the names of the bundles that come with the program."""
    return sorted(path.parent.name for path in _shipped_folder().glob(f"*/{MANIFEST_NAME}"))


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
    if isinstance(version, int) and version != SCHEMA_VERSION:
        newer = version > SCHEMA_VERSION
        raise BundleError(
            f"has schema version {version}, this program reads {SCHEMA_VERSION}",
            f"{'Upgrade wmh-lora, or export' if newer else 'Export'} it again with this version.",
            about=path,
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise BundleError(
            f"is not a valid manifest: {describe_validation_error(error)}",
            "Copy or export it again.",
            about=path,
        ) from error


def _verify(folder: Path, file: File) -> None:
    path = folder / file.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"names {file.path}, outside the bundle", "Do not use it.", about=folder)
    if not path.is_file():
        raise BundleError("is missing", "Copy the whole bundle folder again.", about=path)
    found = sha256_file(path)
    if found != file.sha256:
        raise BundleError(
            f"has SHA-256 {found[:12]}…, the manifest says {file.sha256[:12]}…",
            "The file was altered or copied incompletely: copy the bundle again.",
            about=path,
        )


def _is_left_by_desktops(path: Path, place: Path) -> bool:
    parts = path.relative_to(place).parts
    return path.name in ("Thumbs.db", "desktop.ini") or any(p.startswith(".") for p in parts)


def _require_nothing_else(folder: Path, files: Iterable[File]) -> None:
    """Refuse files beside or below the graphs that are not named: a graph might read them.

    But for hidden ones, which desktops leave wherever somebody looked.
    """
    named = {folder / file.path for file in files}
    for place in {path.parent for path in named}:
        for path in sorted(place.rglob("*")):
            if path.is_file() and path not in named and not _is_left_by_desktops(path, place):
                raise BundleError(
                    f"holds {path.name}, which its manifest does not name",
                    "Remove it, or copy the bundle again.",
                    about=place,
                )
