"""The bundle: the folder that export leaves and that inference runs. Nothing else is read.

    bundle/
    ├── manifest.json            all that the runtime needs to know
    ├── graphs/8-view.fp32.onnx  the network, of one view and of eight, in each precision
    ├── graphs/weights.fp32.bin  what both graphs of a precision read their weights from
    ├── engines/                 graphs compiled for particular GPUs
    ├── answers.npz              slices, and what the trained network says of them
    └── MODEL_CARD.md

Opening a bundle verifies the hash of every file the manifest names and follows no path out of
the folder. Nothing in it is ever unpickled or executed as code.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from wmh_runtime.answers import Answers
from wmh_runtime.devices.base import Gpu
from wmh_runtime.errors import BundleError
from wmh_runtime.invalid import problems_of
from wmh_runtime.manifest import SCHEMA_VERSION, Engine, EngineKind, File, Graph, Manifest
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import WRITTEN_AS, Precision, Views

_SLICES_BY_DEFAULT = 4  # that `wmh-export engines` makes an engine for, at most

MANIFEST_NAME = "manifest.json"
ANSWERS_NAME = "answers.npz"
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

    def engine(
        self, *, kind: EngineKind, version: str, gpu: Gpu, views: Views, batch_size: int
    ) -> Engine:
        """Return the engine for a library and a GPU.

        Args:
            kind: of the library.
            version: of the library that is installed.
            gpu: to execute on.
            views: that it shall look at.
            batch_size: slices executed at a time.

        Raises:
            BundleError: the bundle has none, or only for others, or of a graph that is not its
                own; it says which command builds one. Or the engine's file was altered.
        """
        misfits = []
        for engine in reversed(self.manifest.engines):  # the newest first
            if (engine.kind, engine.views) != (kind, views):
                continue
            if misfit := self._misfit(engine, version, gpu, batch_size):
                misfits.append(f"{engine.path} {misfit}")
            else:
                _verify(self.folder, engine)
                return engine
        problem = "; ".join(misfits) or f"has no {views}-view engine of {kind}"
        targets = f" --targets {gpu.target}" if kind == "rtx" else ""
        most = -(-batch_size // (len(VIEWS) // views))  # --slices counts those of eight views
        slices = f" --slices 1,{most},{most}" if most > _SLICES_BY_DEFAULT else ""
        command = (
            f"wmh-export engines {shlex.quote(str(self.folder))} --runtime {kind}{targets}{slices}"
        )
        raise BundleError(problem, f"Run: {command}", about=self.folder)

    def _misfit(self, engine: Engine, version: str, gpu: Gpu, batch_size: int) -> str:
        graph = self.graph(views=engine.views, precision=engine.precision)
        if engine.network_sha256 != self.network_sha256(graph):
            return "was built from another graph"
        if engine.version != version:
            return f"was built by version {engine.version}, {version} is installed"
        if gpu.target not in engine.targets:
            return f"was built for {', '.join(engine.targets)}, this GPU is {gpu.target}"
        if engine.gpu not in ("", gpu.name):
            return f"was built for {engine.gpu}, this GPU is {gpu.name}"
        if not engine.profile.least <= batch_size <= engine.profile.most:
            profile = f"{engine.profile.least} to {engine.profile.most}"
            return f"takes {profile} slices at a time, not {batch_size}"
        return ""

    def verify_engines(self) -> None:
        """Compare all engines with the manifest.

        Raises:
            BundleError: one is missing or altered.
        """
        for engine in self.manifest.engines:
            _verify(self.folder, engine)

    def network_sha256(self, graph: Graph) -> str:
        """Return the hash of a graph and of the weights it reads, which its own file only names."""
        weights = [file.sha256 for file in self.manifest.weights if file.path == graph.weights]
        return hashlib.sha256("".join([graph.sha256, *weights]).encode()).hexdigest()

    def answers(self) -> Answers:
        """Read the slices of the parity check, and what the trained network says of them.

        Raises:
            BundleError: the file holds something else.
        """
        return Answers.load(self.path_of(self.manifest.answers), self.manifest.thresholds)

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
