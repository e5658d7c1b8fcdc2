"""The teacher of a training: segment the unlabelled scans with a bundle, or find its results."""

from __future__ import annotations

from pathlib import Path

from wmh_runtime.bundle.bundle import MANIFEST_NAME, Bundle, is_shipped, load_bundle
from wmh_runtime.cli.infer.display import RunDisplay
from wmh_runtime.cohort.plan import FolderOptions
from wmh_runtime.cohort.segment_folder import segment_folder
from wmh_runtime.errors import InputError, RecipeError
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.outputs.paths import Extras
from wmh_train.data.annotated import Dataset
from wmh_train.data.teacher import TaughtScans, with_maps
from wmh_train.loop.distributed import require_one_process
from wmh_train.loop.resume import has_begun
from wmh_train.recipe.recipe import Recipe


def find_taught(
    teacher: str, unlabelled: Dataset, folder: Path, out: Path, recipe: Recipe
) -> TaughtScans:
    """Return scans to learn from with the probabilities of a teacher; compute them if need be.

    A bundle segments the scans in float32 and eight views, into a subfolder of `out` that is named
    after it. What was segmented before is kept. If a training has begun in `out`, no more scans are
    segmented, because with other scans it would be another training.

    Args:
        teacher: folder or name of a bundle, or folder of results with probabilities.
        unlabelled: scans of `folder`, see `find_unlabelled`.
        folder: of scans.
        out: output folder of the training.
        recipe: its outputs are looked for.

    Raises:
        InputError: the teacher lacks an output of the recipe, or has segmented no scan.
        RecipeError: there are several processes.
        BackendError: no backend can run the bundle.
        InterruptionError: stopped; the same call goes on.
    """
    maps = Path(teacher)
    if is_shipped(teacher) or (maps / MANIFEST_NAME).is_file() or not maps.is_dir():
        bundle = load_bundle(teacher)
        _require_outputs(bundle, recipe)
        _require_one_process()
        make_writable_folder(out)
        maps = out / f"teacher-{bundle.manifest.model_id}"
        options = FolderOptions(extras=Extras(probability=True))
        if not has_begun(out):
            with RunDisplay(bundle.manifest) as display:
                segment_folder(folder, maps, bundle, folder_options=options, progress=display)
    return with_maps(unlabelled, folder, maps, recipe.outputs)


def _require_one_process() -> None:
    try:
        require_one_process("segmenting scans with a teacher")
    except RecipeError as error:
        advice = "Segment them with wmh-infer first, and give its results as teacher."
        raise RecipeError(error.problem, advice) from error


def _require_outputs(bundle: Bundle, recipe: Recipe) -> None:
    names = [output.name for output in bundle.manifest.outputs]
    if missing := [name for name in recipe.outputs if name not in names]:
        raise InputError(
            f"predicts {', '.join(names) or 'regions only'}, the recipe needs {', '.join(missing)}",
            "Choose another teacher, or change outputs in the recipe.",
            about=bundle.folder,
        )
    first, *_ = bundle.manifest.channels
    if first != recipe.channels[0]:
        raise InputError(
            f"makes masks on the grid of {first.upper()}, the recipe needs"
            f" {recipe.channels[0].upper()}",
            "Let the recipe have the same first channel.",
            about=bundle.folder,
        )
