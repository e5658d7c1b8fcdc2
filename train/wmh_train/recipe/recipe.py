"""The recipe: everything that decides a training, in one TOML file of nested tables.

What a study would vary is a field here; the rest is a named constant beside its use.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from wmh_runtime.errors import RecipeError
from wmh_runtime.postprocessing.lesions import OutputName
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_runtime.schema import StrictModel, describe_validation_error

LayerName = Literal["qkv", "proj", "lin1", "lin2"]


def _in_order(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] <= value[1]:
        raise ValueError("expected 0 ≤ lowest ≤ highest")
    return value


def _above_zero(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] == 0:
        raise ValueError("expected 0 < lowest ≤ highest; 1 changes nothing")
    return value


PositiveInt = Annotated[int, Field(gt=0)]
Range = Annotated[tuple[float, float], AfterValidator(_in_order)]
Factors = Annotated[Range, AfterValidator(_above_zero)]


class EncoderSettings(StrictModel):
    """A SAM-type vision transformer. MedSAM's own is `vit_b`, whose numbers `wmh-lora` bears."""

    width: int = Field(gt=0, description="of a token")
    depth: int = Field(gt=0, description="blocks")
    heads: int = Field(gt=0)
    patch_px: int = Field(gt=0)
    window_tokens: int = Field(gt=0, description="side of the attention windows")
    global_blocks: list[int] = Field(description="blocks that attend across the whole slice")
    neck_channels: int = Field(gt=0)
    trained: bool = Field(
        description="True: all of it is trained; False: frozen but for LoRA, so it needs a base"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="less memory: activations of a block are computed twice"
    )

    @model_validator(mode="after")
    def _heads_and_blocks_fit(self) -> EncoderSettings:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if not set(self.global_blocks) <= set(range(self.depth)):
            raise ValueError(f"global_blocks {self.global_blocks} reach beyond depth {self.depth}")
        return self


class LoraSettings(StrictModel):
    """Low-rank adapters in the encoder's blocks; alpha equals the rank."""

    ranks: dict[LayerName, PositiveInt] = Field(min_length=1)
    blocks: list[int] = Field(default=[], description="which blocks are adapted; empty: all")
    dropout: float = Field(default=0.05, ge=0, lt=1)


class DecoderSettings(StrictModel):
    """Widths of the decoder, one stage for each doubling of resolution."""

    widths: list[PositiveInt] = Field(default=[128, 64, 32, 16], min_length=2)
    detail_width: int = Field(
        default=0, ge=0, description="of the image's branch at full resolution; 0: none"
    )


class NetworkSettings(StrictModel):
    """What is trained."""

    encoder: EncoderSettings
    lora: LoraSettings | None = None
    decoder: DecoderSettings = DecoderSettings()

    @model_validator(mode="after")
    def _decoder_undoes_patches(self) -> NetworkSettings:
        if 2 ** len(self.decoder.widths) != self.encoder.patch_px:
            raise ValueError(
                f"{len(self.decoder.widths)} decoder widths double the resolution to"
                f" 1/{self.encoder.patch_px} × {2 ** len(self.decoder.widths)} of the slice, not 1"
            )
        if self.lora is not None and self.encoder.trained:
            raise ValueError("an encoder with LoRA is frozen: set encoder.trained = false")
        return self


class DataSettings(StrictModel):
    """Which scans and slices are learned from. Shares are of each site's persons."""

    empty_slices: float = Field(
        default=0.08, ge=0, le=1, description="share drawn, each epoch, of those without lesion"
    )
    validation_share: float = Field(default=0.15, gt=0, lt=1)
    test_share: float = Field(default=0.15, ge=0, lt=1, description="set aside, never looked at")

    @model_validator(mode="after")
    def _some_are_learned_from(self) -> DataSettings:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to learn from")
        return self


class AugmentationSettings(StrictModel):
    """How much a slice is changed before it is learned from.

    None at all: 0, and for the two factors, gamma and contrast, a range of (1, 1).
    """

    rotation_degrees: float = Field(default=15.0, ge=0, le=45, description="±")
    scale: float = Field(default=0.10, ge=0, lt=1, description="±, share")
    shift: float = Field(default=0.05, ge=0, lt=1, description="±, share of the slice's side")
    gamma: Factors = (0.7, 1.5)
    contrast: Factors = (0.8, 1.3)
    brightness: float = Field(default=0.15, ge=0, description="±, standard deviations of the head")
    noise: Range = Field(default=(0.01, 0.08), description="likewise")
    bias_field: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="largest coefficient of a smooth field of sensitivity; 0.1 is moderate",
    )
    low_resolution: float = Field(
        default=0.0, ge=0, le=1, description="share of slices blurred to a coarser grid"
    )


class LossSettings(StrictModel):
    """Focal + soft Dice + boundary on the fused output; focal + Dice on each scale, weighted."""

    focal_alpha: float = Field(default=0.75, gt=0, lt=1)
    focal_gamma: float = Field(default=2.0, ge=0)
    boundary_weight: float = Field(default=0.5, ge=0)
    scale_weights: list[Annotated[float, Field(ge=0)]] = Field(
        default=[0.4, 0.3, 0.2, 0.1], description="of the auxiliary losses, coarse to fine"
    )


class OptimizerSettings(StrictModel):
    """AdamW."""

    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"


class ScheduleSettings(StrictModel):
    """Linear warm-up, then cosine annealing with warm restarts."""

    epochs: int = Field(default=100, gt=0)
    warmup_epochs: float = Field(default=5, ge=0)
    restart_epochs: float = Field(default=25, gt=0, description="length of one cosine")
    lowest_learning_rate: float = Field(default=1e-6, ge=0, description="where a cosine ends")
    batch_size: int = Field(default=16, gt=0, description="slices of one optimizer step")
    slices_at_once: int = Field(
        default=4, gt=0, description="of them, what a device holds; gradients are accumulated"
    )
    seed: int = Field(default=42, ge=0)

    @model_validator(mode="after")
    def _warm_up_ends(self) -> ScheduleSettings:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs:g} of {self.epochs} epochs")
        return self

    @model_validator(mode="after")
    def _batches_divide(self) -> ScheduleSettings:
        if self.batch_size % self.slices_at_once:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of"
                f" slices_at_once {self.slices_at_once}"
            )
        return self


class CalibrationSettings(StrictModel):
    """What threshold and smallest lesion are chosen for."""

    lesion_f1_weight: float = Field(
        default=0.0, ge=0, le=1, description="w of (1 − w) · mean Dice + w · mean lesion F1"
    )


class Recipe(StrictModel):
    """Everything that decides a training."""

    name: str
    channels: list[str] = Field(default=["flair"], min_length=1)
    outputs: list[OutputName] = Field(default=["wmh"], min_length=1)
    preprocessing: Preprocessing
    network: NetworkSettings
    data: DataSettings = DataSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    calibration: CalibrationSettings = CalibrationSettings()

    @field_validator("channels", "outputs")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError(f"{names} names one twice")
        return names

    @model_validator(mode="after")
    def _learning_rate_falls(self) -> Recipe:
        lowest, highest = self.schedule.lowest_learning_rate, self.optimizer.learning_rate
        if lowest > highest:
            raise ValueError(
                f"schedule.lowest_learning_rate {lowest:g} is above"
                f" optimizer.learning_rate {highest:g}"
            )
        return self

    @model_validator(mode="after")
    def _a_weight_for_each_scale(self) -> Recipe:
        scales, weights = len(self.network.decoder.widths), len(self.loss.scale_weights)
        if scales != weights:
            raise ValueError(f"{weights} loss.scale_weights for {scales} decoder scales")
        return self


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a recipe that comes with the program by its name, or a TOML file by its path.

    Raises:
        RecipeError: there is none, it is not TOML, or a value does not make sense.
    """
    shipped = resources.files("wmh_train") / "recipes" / f"{name_or_path}.toml"
    path = Path(name_or_path)
    try:
        content = path.read_bytes() if path.suffix == ".toml" else shipped.read_bytes()
    except OSError as error:
        raise RecipeError(
            "is not a recipe file nor the name of a shipped one",
            f"Give a .toml file or one of: {', '.join(shipped_recipes())}.",
            about=name_or_path,
        ) from error
    try:
        return Recipe.model_validate(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"is not TOML: {error}", "Mend that line.", about=name_or_path) from error
    except ValidationError as error:
        raise RecipeError(
            describe_validation_error(error),
            "Compare it with a shipped recipe.",
            about=name_or_path,
        ) from error


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the program."""
    files = (resources.files("wmh_train") / "recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
