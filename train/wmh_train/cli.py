"""`wmh-train`: the command line. PyTorch is imported when a command runs, not for its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wmh_runtime.cli import console
from wmh_train.consensus.method import Method
from wmh_train.recipe.recipe import load_recipe
from wmh_train.recipe.synthesis import HIGHEST_SEED
from wmh_train.recipe.template import recipe_to_toml

app = console.command_line("Train a WMH segmentation network and calibrate it.")

_RecipeName = Annotated[str, typer.Argument(help="Recipe file, or name of a shipped recipe.")]
_Data = Annotated[
    list[Path],
    typer.Option(
        help="Annotated scans: BIDS or WMH challenge folder, or .csv/.tsv table. May be repeated."
    ),
]
_Masks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[STAGE=]FOLDER",
        help="Masks named after the scans of --data, instead of those in --data. For a recipe with"
        " stages, the stage that learns from them. May be repeated.",
    ),
]
_MaskFolders = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FOLDER",
        help="Masks named after the scans of --data, instead of those in --data.",
    ),
]
_Pretrained = Annotated[
    Path | None,
    typer.Option(help="Pretrained weights of the encoder, such as medsam_vit_b.pth."),
]
_Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for preprocessed slices. Default: the folder cache in --out."),
]
_Start = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FOLDER|NAME",
        help="Fine-tune: start from the weights of this checkpoint or bundle, such as base.",
    ),
]
_Teacher = Annotated[
    str | None,
    typer.Option(
        metavar="BUNDLE|RESULTS",
        help="Also learn the probabilities that this model finds in the scans of --unlabelled. A"
        " bundle, which segments them first, or results of wmh-infer --probability for them.",
    ),
]
_Unlabelled = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="With --teacher: folder of scans without masks, to learn from."
    ),
]
_LesionMasks = Annotated[
    Path | None,
    typer.Option(help="Folder of masks of real lesions in the space of the MNI template."),
]


@app.command()
def fit(
    recipe: _RecipeName,
    data: _Data,
    out: Annotated[Path, typer.Option(help="Output folder. An unfinished training is resumed.")],
    masks: _Masks = None,
    start: _Start = None,
    pretrained: _Pretrained = None,
    cache: _Cache = None,
    label_maps: Annotated[
        Path | None,
        typer.Option(
            help="Folder of label maps, as for synthesise: make data.new_heads synthetic heads for"
            " each epoch, besides the scans of --data."
        ),
    ] = None,
    lesion_masks: _LesionMasks = None,
    teacher: _Teacher = None,
    unlabelled: _Unlabelled = None,
) -> None:
    """Train a network and write its checkpoint."""
    _training_commands().fit(
        *(recipe, data, masks or [], out, start, pretrained, cache, label_maps, lesion_masks),
        *(teacher, unlabelled),
    )


@app.command()
def synthesise(
    label_maps: Annotated[
        Path, typer.Argument(help="Folder of label maps with FreeSurfer's numbers, at 1 mm.")
    ],
    out: Annotated[
        Path, typer.Argument(help="Folder for the data set. An unfinished one is continued.")
    ],
    lesion_masks: _LesionMasks = None,
    heads: Annotated[int, typer.Option(min=1, help="Number of heads.")] = 100,
    seed: Annotated[
        int, typer.Option(min=0, max=HIGHEST_SEED, help="Another seed gives other heads.")
    ] = 0,
    recipe: Annotated[
        str, typer.Option(help="Recipe with the ranges, in its table [synthesis].")
    ] = "tiny",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Parallel processes. Default: one per core.")
    ] = None,
) -> None:
    """Make synthetic heads with FLAIR, T1, lesion masks and regions, to train on.

    Scans are written to OUT, masks to OUT/derivatives/reference.
    """
    _training_commands().synthesise(label_maps, out, lesion_masks, heads, seed, recipe, workers)


@app.command()
def bronze(
    scans: Annotated[Path, typer.Argument(help="FLAIR scans: folder, file, or table.")],
    out: Annotated[Path, typer.Argument(help="Folder for the masks, a subfolder per method.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Parallel processes. Default: one per core.")
    ] = None,
) -> None:
    """Segment scans without any learning, by three methods, to have masks to begin with.

    The masks are rough: a Dice with masks of experts of about 0.5. See docs/few-masks.md.
    """
    _mask_commands().bronze(scans, out, workers)


@app.command()
def consensus(
    scans: Annotated[Path, typer.Argument(help="FLAIR scans: folder, file, or table.")],
    masks: Annotated[
        list[Path],
        typer.Argument(help="Folders of masks, one for each method, program or rater."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the consensus.")],
    method: Annotated[Method, typer.Option(help="How masks are combined.")] = Method.STAPLE,
) -> None:
    """Combine several masks of each scan into one, and measure how well each agrees with it.

    Masks belong to a scan by its name, see docs/few-masks.md.
    Exit status: 0 all scans done, 1 some failed, 2 nothing could be done.
    """
    _mask_commands().consensus(scans, masks, out, method)


@app.command()
def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder, the output of fit.")],
    data: _Data,
    masks: _MaskFolders = None,
    pretrained: _Pretrained = None,
) -> None:
    """Select threshold and minimum lesion size on the validation scans of a checkpoint."""
    _training_commands().calibrate(checkpoint, data, masks or [], pretrained)


@app.command("cross-validate")
def cross_validate(
    recipe: _RecipeName,
    data: _Data,
    out: Annotated[Path, typer.Option(help="Output folder. Unfinished folds are resumed.")],
    masks: _MaskFolders = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    start: _Start = None,
    pretrained: _Pretrained = None,
    cache: _Cache = None,
) -> None:
    """Train, calibrate and test one network per fold, and report the scores of all scans."""
    _training_commands().cross_validate(
        recipe, data, masks or [], out, folds, start, pretrained, cache
    )


@app.command()
def describe(recipe: _RecipeName) -> None:
    """Print the size of a recipe's network, and the memory and operations of its training.

    The time depends on the computer. `wmh-train fit` shows the time left after its first steps.
    """
    _training_commands().describe(recipe)


@app.command("recipe")
def print_recipe(recipe: _RecipeName) -> None:
    """Print a recipe with all keys, values and descriptions, to copy and edit."""
    console.print_line(recipe_to_toml(load_recipe(recipe)).rstrip())


def _training_commands() -> Any:
    """Return the module that trains."""
    return console.load_module("wmh_train.commands.training", extras="train")


def _mask_commands() -> Any:
    """Return the module that makes masks."""
    return console.load_module("wmh_train.commands.masks", extras="train")


def main() -> None:
    """Run `wmh-train`."""
    console.run(app)
