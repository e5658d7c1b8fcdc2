"""The bundle: a folder that export writes and inference reads. It needs no other files.

    bundle/
    ├── manifest.json            everything that the runtime needs to know
    ├── graphs/8-view.fp32.onnx  the network, for one view and for eight, in each precision
    ├── graphs/weights.fp32.bin  the weights of both graphs of a precision
    ├── engines/                 graphs compiled for particular GPUs
    ├── reference_outputs.npz    probe slices, and the trained network's outputs for them
    ├── checkpoint/              if it was included: the trained weights, for fine-tuning
    └── MODEL_CARD.md

Opening a bundle checks the SHA-256 of every file that the manifest lists. A file may be a link, as
in the cache of a model hub: its content counts. A path in the manifest that leads out of the folder
is rejected. Nothing in a bundle is unpickled or executed as code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PureWindowsPath

from pydantic import ValidationError

from wmh_runtime.bundle.manifest import SCHEMA_VERSION, File, Graph, Manifest
from wmh_runtime.errors import BundleError
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.precision import STORED_PRECISION, Precision
from wmh_runtime.schema import describe_validation_error
from wmh_runtime.tta import Views
from wmh_runtime.types import GraphProvider

MANIFEST_NAME = "manifest.json"
REFERENCE_OUTPUTS_NAME = "reference_outputs.npz"
CARD_NAME = "MODEL_CARD.md"
CHECKPOINT_FOLDER = "checkpoint"
DEFAULT_BUNDLE = "base"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, with verified files."""

    folder: Path  #: where it lies
    manifest: Manifest  #: channels, outputs, calibration and files; docs/bundle.md explains it

    def graph(self, *, views: Views, precision: Precision, provider: GraphProvider = "") -> Graph:
        """Return the graph for this number of views and this precision.

        Args:
            views: that it averages.
            precision: that it is executed in.
            provider: execution provider that it is made for; empty: the graph for everything.

        Raises:
            BundleError: the bundle has no such graph.
        """
        stored = STORED_PRECISION[precision]
        for graph in self.manifest.graphs:
            if (graph.views, graph.precision, graph.provider) == (views, stored, provider):
                return graph
        if provider:
            raise BundleError(
                f"has no {views}-view {stored} graph made for {provider.upper()}",
                "Export the bundle again, or choose another backend.",
                about=self.folder,
            )
        present = ", ".join(
            f"{graph.views}-view {graph.precision}"
            for graph in self.manifest.graphs
            if not graph.provider
        )
        raise BundleError(
            f"has no {views}-view {stored} graph, only {present}",
            "Choose one of these, or export the bundle again.",
            about=self.folder,
        )

    def verify_engines(self) -> None:
        """Check the SHA-256 of all engines.

        Raises:
            BundleError: an engine is missing or changed.
        """
        for engine in self.manifest.engines:
            self.verify(engine)

    def verify(self, file: File) -> None:
        """Check the SHA-256 of one file.

        Raises:
            BundleError: the file is missing or changed, or its path leads out of the bundle.
        """
        _verify(self.folder, file)

    def network_sha256(self, graph: Graph) -> str:
        """Return the hash of a graph and its weights, which are in a separate file."""
        weights = [file.sha256 for file in self.manifest.weights if file.path == graph.weights]
        return hashlib.sha256("".join([graph.sha256, *weights]).encode()).hexdigest()

    def path_of(self, file: File) -> Path:
        """Return the path of a file of the bundle."""
        return self.folder / file.path


def load_bundle(name_or_folder: str | Path = DEFAULT_BUNDLE) -> Bundle:
    """Open a bundle by its folder, or by the name of a bundle that comes with the program.

    All files but the engines are verified. An engine is verified when it is used.

    Raises:
        BundleError: the bundle is missing, incomplete, changed or of another schema version, or
            lists a path outside its folder.
    """
    try:
        folder = _find_folder(name_or_folder)
        manifest = _read_manifest(folder)
        for file in manifest.files:
            if file not in manifest.engines:
                _verify(folder, file)
        _require_no_other_files(folder, (*manifest.graphs, *manifest.weights))
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({error})"
        raise BundleError(problem, "Check its permissions.", about=name_or_folder) from error
    return Bundle(folder, manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a bundle, atomically.

    Raises:
        InputError: it cannot be written.
    """
    write_text_atomically(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")


def shipped_bundles() -> list[str]:
    """Return the names of the bundles that come with the program."""
    return sorted(path.parent.name for path in _shipped_folder().glob(f"*/{MANIFEST_NAME}"))


def is_shipped(name_or_folder: str | Path) -> bool:
    """Return whether this is the name of a bundle that comes with the program.

    A folder of this name needs a path, such as `./base`.
    """
    return isinstance(name_or_folder, str) and name_or_folder in shipped_bundles()


def _shipped_folder() -> Path:
    return Path(str(resources.files("wmh_runtime"))) / "bundles"


def _find_folder(name_or_folder: str | Path) -> Path:
    """Return the folder of a bundle. The name of a shipped bundle is never a folder on disk."""
    if is_shipped(name_or_folder):
        return _shipped_folder() / name_or_folder
    folder = Path(name_or_folder)
    if (folder / MANIFEST_NAME).is_file():
        return folder
    problem = "is a folder without manifest.json" if folder.is_dir() else "is not a bundle folder"
    raise BundleError(
        problem,
        f"Give a folder written by wmh-export, or one of: {', '.join(shipped_bundles())}.",
        about=name_or_folder or folder,
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
        advice = "Upgrade wmh-lora, or export" if version > SCHEMA_VERSION else "Export"
        raise BundleError(
            f"has schema version {version}, this program reads version {SCHEMA_VERSION}",
            f"{advice} it again with this version.",
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
    if _leads_out(file.path):
        problem = f"lists {file.path}, which is outside the bundle"
        raise BundleError(problem, "Do not use this bundle.", about=folder)
    if not path.is_file():
        raise BundleError("is missing", "Copy the whole bundle folder again.", about=path)
    sha256 = sha256_file(path)
    if sha256 != file.sha256:
        raise BundleError(
            f"has SHA-256 {sha256[:12]}…, the manifest says {file.sha256[:12]}…",
            "The file was changed, or is incomplete. Copy the bundle again.",
            about=path,
        )


def _leads_out(path: str) -> bool:
    """Return whether a path of the manifest is absolute or goes up, on any system.

    Windows paths take both kinds of slashes, so they cover those of other systems.
    """
    parts = PureWindowsPath(path)
    return bool(parts.anchor) or ".." in parts.parts


def _is_desktop_file(path: Path, folder: Path) -> bool:
    """Return whether a file is hidden, or one that a desktop writes into folders."""
    parts = path.relative_to(folder).parts
    return path.name in ("Thumbs.db", "desktop.ini") or any(p.startswith(".") for p in parts)


def _require_no_other_files(bundle_folder: Path, files: Iterable[File]) -> None:
    """Check that the folders of the graphs contain listed files only: a graph may read others."""
    listed = {bundle_folder / file.path for file in files}
    for folder in {path.parent for path in listed}:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path not in listed and not _is_desktop_file(path, folder):
                raise BundleError(
                    f"contains {path.name}, which the manifest does not list",
                    "Remove it, or copy the bundle again.",
                    about=folder,
                )
