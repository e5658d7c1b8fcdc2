"""Fine-tuning: the weights of another training, from its checkpoint or its bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wmh_runtime.bundle.bundle import CHECKPOINT_FOLDER, is_shipped, load_bundle
from wmh_runtime.errors import RecipeError
from wmh_train.checkpoint import (
    CheckpointMetadata,
    has_checkpoint,
    load_metadata,
    own_tensors,
    read_tensors,
)
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.file_hashes import image_hash
from wmh_train.model.network import WmhNetwork
from wmh_train.model.pretrained import PretrainedIdentity
from wmh_train.recipe.recipe import Recipe


@dataclass(frozen=True)
class InitialWeights:
    """The weights of another training, to start from."""

    identity: PretrainedIdentity
    tensors: dict[str, Tensor]
    origin: CheckpointMetadata  # of the training that they come from

    def require_same_task(self, recipe: Recipe, pretrained: PretrainedIdentity | None) -> None:
        """Refuse a recipe whose network would give these weights another meaning.

        Args:
            recipe: of the new training.
            pretrained: the weights of its frozen encoder; None if there is none.

        Raises:
            RecipeError: channels, outputs, regions, preprocessing or frozen encoder differ.
        """
        before = self.origin.recipe
        for name in ("channels", "outputs", "regions", "preprocessing"):
            old, new = (getattr(one, name) for one in (before, recipe))
            if old != new:
                raise RecipeError(
                    f"was trained with {name} {old}, the recipe has {new}",
                    f"Use the same {name}.",
                    about=self.identity.name,
                )
        hashes = [one.sha256 if one else "" for one in (self.origin.pretrained, pretrained)]
        if before.network.needs_pretrained and hashes[0] != hashes[1]:
            raise RecipeError(
                "was trained on other weights of the frozen encoder",
                "Give the same pretrained weights.",
                about=self.identity.name,
            )

    @property
    def learned_images(self) -> Sequence[str]:
        """SHA-256 of the images that these weights were trained on, see `image_hash`."""
        return self.origin.provenance.learned_images

    def trained_on(self, scans: Iterable[AnnotatedScan], scan_keys: Mapping[str, str]) -> list[str]:
        """Return the names of the scans that these weights were trained on, with any masks.

        Args:
            scans: annotated scans.
            scan_keys: by name, see `CheckpointMetadata.scan_keys`.
        """
        keys = {self.origin.scan_keys[name] for name in self.origin.split.training}
        images = set(self.learned_images)
        return [
            scan.name
            for scan in scans
            if scan_keys[scan.name] in keys or image_hash(scan) in images
        ]

    def load_into(self, network: WmhNetwork) -> None:
        """Replace the weights of a new network.

        Raises:
            RecipeError: the network has other layers.
        """
        expected = own_tensors(network)
        differing = sorted(
            name
            for name in expected.keys() | self.tensors.keys()
            if name not in expected
            or name not in self.tensors
            or expected[name].shape != self.tensors[name].shape
        )
        if differing:
            raise RecipeError(
                f"has other layers than the recipe ({len(differing)} differ, such as"
                f" {differing[0]})",
                "Use the network of its recipe.",
                about=self.identity.name,
            )
        network.load_state_dict(self.tensors, strict=False)


def read_initial_weights(name_or_folder: str | Path) -> InitialWeights:
    """Read the weights of a checkpoint, or those that a bundle holds for fine-tuning.

    Args:
        name_or_folder: a checkpoint, a bundle, or the name of a bundle that comes with the program.

    Raises:
        RecipeError: there are no weights, or they are damaged.
        BundleError: the bundle is damaged.
    """
    folder = Path(name_or_folder)
    if is_shipped(name_or_folder) or not has_checkpoint(folder):
        bundle = load_bundle(name_or_folder)
        folder = bundle.folder / CHECKPOINT_FOLDER
        if not bundle.manifest.checkpoint:
            raise RecipeError(
                "holds no weights to train from",
                "Give a checkpoint, or export the bundle again with its checkpoint.",
                about=name_or_folder,
            )
    metadata = load_metadata(folder)
    tensors = read_tensors(folder, metadata)
    identity = PretrainedIdentity(name=str(name_or_folder), sha256=metadata.weights_sha256)
    return InitialWeights(identity, tensors, metadata)
