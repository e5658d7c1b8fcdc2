"""The recipe: all settings of a training, in one TOML file of nested tables.

Settings that a study may vary are fields here. All others are named constants next to their use.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from wmh_runtime.errors import RecipeError
from wmh_runtime.postprocessing.lesions import OutputName
from wmh_runtime.preprocessing.channels import Present, channel_subsets
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_runtime.schema import StrictModel, describe_validation_error
from wmh_runtime.types import NetworkShape
from wmh_train.recipe.intervals import Factors, Range, Share
from wmh_train.recipe.network import NetworkSettings
from wmh_train.recipe.stage import StageSettings
from wmh_train.recipe.synthesis import SynthesisSettings

MAX_TARGETS = 16  # outputs and regions together


class DataSettings(StrictModel):
    """Which scans and slices are used for training. Scans are split by subject within each site."""

    empty_slices: float = Field(
        default=0.08, ge=0, le=1, description="share of the slices without lesion drawn per epoch"
    )
    validation_share: float = Field(default=0.15, gt=0, lt=1, description="of the subjects")
    test_share: float = Field(
        default=0.15, ge=0, lt=1, description="of the subjects; never used in training"
    )
    epoch_slices: int | None = Field(
        default=None,
        gt=0,
        description="slices drawn per epoch; by default all with a lesion, and empty_slices",
    )
    new_heads: int = Field(
        default=0,
        ge=0,
        description="synthetic heads that are made for each epoch, besides the annotated scans",
    )
    site_shares: dict[str, Share] = Field(
        default={},
        description="share of these sites in an epoch, such as synthetic = 0.6; the others share"
        " the rest by their numbers of slices",
    )

    @model_validator(mode="after")
    def _check_shares(self) -> DataSettings:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing for training")
        return self

    @model_validator(mode="after")
    def _check_site_shares(self) -> DataSettings:
        if self.site_shares and self.epoch_slices is None:
            raise ValueError("site_shares needs epoch_slices")
        if self.new_heads and self.epoch_slices is None:
            raise ValueError("new_heads needs epoch_slices, so that all epochs are equally long")
        if sum(self.site_shares.values()) > 1:
            raise ValueError(f"site_shares {self.site_shares} are more than 1 together")
        return self


class AugmentationSettings(StrictModel):
    """Random changes of a training slice.

    0 switches a change off; for the factors gamma and contrast, the range (1, 1) does. The defaults
    of brightness and noise are for z-scores, whose unit is the standard deviation of the head.
    """

    rotation_degrees: float = Field(default=15.0, ge=0, le=45, description="±")
    scale: float = Field(default=0.10, ge=0, lt=1, description="±, relative")
    shift: float = Field(
        default=0.05, ge=0, lt=1, description="±, relative to the side of the slice"
    )
    gamma: Factors = Field(default=(0.7, 1.5), description="exponent, lowest and highest")
    contrast: Factors = Field(default=(0.8, 1.3), description="factor, lowest and highest")
    brightness: float = Field(
        default=0.15, ge=0, description="±, in units of the slices: see docs/training.md"
    )
    noise: Range = Field(default=(0.01, 0.08), description="lowest and highest, in the same units")
    single_slice_share: Share = Field(
        default=0.2, description="of samples in which the slice takes the place of its neighbors"
    )


class LossSettings(StrictModel):
    """Focal + soft Dice + boundary loss on the fused logits, focal + soft Dice on each scale.

    Regions have focal + soft Dice on the fused logits.
    """

    focal_alpha: float = Field(default=0.75, gt=0, lt=1, description="weight of lesion pixels")
    focal_gamma: float = Field(default=2.0, ge=0)
    focal_weight: float = Field(default=1.0, gt=0)
    boundary_weight: float = Field(default=0.5, ge=0)
    region_weight: float = Field(default=0.3, ge=0, description="of the regions together")
    scale_weights: list[Annotated[float, Field(ge=0)]] = Field(
        default=[0.4, 0.3, 0.2, 0.1], description="weight of each scale, coarse to fine"
    )


class OptimizerSettings(StrictModel):
    """Settings of AdamW."""

    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    frozen_layers: int = Field(
        default=0, ge=0, description="first layers that stay as they are; describe lists them"
    )
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"


class ScheduleSettings(StrictModel):
    """Length and batch size. Linear warm-up, then cosine annealing with warm restarts."""

    epochs: int = Field(default=100, gt=0)
    patience_epochs: int | None = Field(
        default=None, gt=0, description="stop after so many epochs without a better one"
    )
    select_by: Literal["dice", "iou"] = Field(
        default="dice", description="the best epoch has the highest one on the validation scans"
    )
    warmup_epochs: float = Field(default=5, ge=0)
    restart_epochs: float = Field(default=25, gt=0, description="length of one cosine cycle")
    lowest_learning_rate: float = Field(
        default=1e-6, ge=0, description="at the end of a cosine cycle"
    )
    batch_statistics_epochs: float | None = Field(
        default=None,
        ge=0,
        description="after these epochs BatchNorm uses fixed statistics, as at inference; by"
        " default it uses those of the batch to the end",
    )
    batch_size: int = Field(default=16, gt=0, description="slices per optimizer step")
    micro_batch_size: int = Field(
        default=4, gt=0, description="slices per forward pass; gradients are accumulated"
    )
    seed: int = Field(default=42, ge=0)

    @model_validator(mode="after")
    def _check_warmup(self) -> ScheduleSettings:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs:g} must be less than epochs {self.epochs}"
            )
        return self

    @model_validator(mode="after")
    def _check_batch_size(self) -> ScheduleSettings:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of"
                f" micro_batch_size {self.micro_batch_size}"
            )
        return self


class Recipe(StrictModel):
    """All settings of a training."""

    name: str
    channels: list[str] = Field(default=["flair"], min_length=1)
    interchangeable: bool = Field(
        default=False,
        description="any channel may be missing, but not all; some are left out in training",
    )
    outputs: list[OutputName] = Field(
        default=["wmh"], description="kinds of lesions; none for a network of regions only"
    )
    regions: list[OutputName] = Field(
        default=[], description="regions of the brain, predicted besides the lesions"
    )
    preprocessing: Preprocessing
    network: NetworkSettings
    data: DataSettings = DataSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    stage: list[StageSettings] = Field(
        default=[], description="trainings one after the other, each from the best of the last"
    )

    def of_stage(self, name: str) -> Recipe:
        """Return the recipe of a stage, as that of a training without stages."""
        stage = next(stage for stage in self.stage if stage.name == name)
        settings = self.model_dump() | {"stage": [], "name": f"{self.name}/{name}"}
        for table, changes in stage.changes.items():
            settings[table] |= changes
        return Recipe.model_validate(settings)

    @property
    def targets(self) -> list[str]:
        """The names of all K outputs of the network: lesions, then regions."""
        return [*self.outputs, *self.regions]

    @property
    def network_shape(self) -> NetworkShape:
        """C, K and S of the network."""
        return self.preprocessing.network_shape(len(self.channels), len(self.targets))

    @property
    def channel_subsets(self) -> list[Present]:
        """Which channels may be there, the largest subset first."""
        return channel_subsets(len(self.channels), interchangeable=self.interchangeable)

    @field_validator("channels")
    @classmethod
    def _check_unique(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError(f"{names} contains a name twice")
        return names

    @model_validator(mode="after")
    def _check_targets(self) -> Recipe:
        self._check_unique(self.targets)
        if not self.targets:
            raise ValueError("outputs and regions are both empty")
        if len(self.targets) > MAX_TARGETS:
            raise ValueError(f"{len(self.targets)} outputs and regions, at most {MAX_TARGETS}")
        return self

    @model_validator(mode="after")
    def _check_stages(self) -> Recipe:
        names = [stage.name for stage in self.stage]
        if len(set(names)) != len(names):
            raise ValueError(f"two stages have the same name: {', '.join(names)}")
        if self.stage and self.data.new_heads:
            raise ValueError("stages learn from masks of scans: set data.new_heads to 0")
        for stage in self.stage:
            try:
                self.of_stage(stage.name)
            except ValidationError as error:
                problem = describe_validation_error(error)
                raise ValueError(f"stage {stage.name}: {problem}") from error
        return self

    @model_validator(mode="after")
    def _check_interchangeable(self) -> Recipe:
        if self.interchangeable and len(self.channels) == 1:
            raise ValueError("interchangeable needs two channels or more")
        return self

    @model_validator(mode="after")
    def _check_learning_rates(self) -> Recipe:
        lowest, highest = self.schedule.lowest_learning_rate, self.optimizer.learning_rate
        if lowest > highest:
            raise ValueError(
                f"schedule.lowest_learning_rate {lowest:g} is above"
                f" optimizer.learning_rate {highest:g}"
            )
        return self

    @model_validator(mode="after")
    def _check_scale_weights(self) -> Recipe:
        scales, weights = self.network.scale_count, len(self.loss.scale_weights)
        if scales != weights:
            raise ValueError(
                f"{weights} loss.scale_weights, expected {scales}, one per decoder width"
            )
        return self


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a shipped recipe by its name, or a TOML file by its path.

    Raises:
        RecipeError: the recipe does not exist, is not TOML, or has an invalid value.
    """
    shipped = resources.files("wmh_train") / "recipes" / f"{name_or_path}.toml"
    path = Path(name_or_path)
    try:
        content = path.read_bytes() if path.suffix == ".toml" else shipped.read_bytes()
    except OSError as error:
        raise RecipeError(
            "is neither a recipe file nor the name of a shipped recipe",
            f"Give a .toml file, or one of: {', '.join(shipped_recipes())}.",
            about=name_or_path,
        ) from error
    try:
        return Recipe.model_validate(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"is not valid TOML: {error}", "Fix that line.", about=name_or_path
        ) from error
    except ValidationError as error:
        raise RecipeError(
            describe_validation_error(error),
            "Compare it with the output of wmh-train recipe wmh-lora.",
            about=name_or_path,
        ) from error


def shipped_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    files = (resources.files("wmh_train") / "recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
