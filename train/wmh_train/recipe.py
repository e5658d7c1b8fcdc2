"""The recipe: everything that decides a training, in one TOML file of nested tables.

What a study would vary is a field here; the rest is a named constant beside its use.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from wmh_runtime.bundle import OutputName
from wmh_runtime.errors import RecipeError
from wmh_runtime.prepare import Preparation

LayerName = Literal["qkv", "proj", "lin1", "lin2"]


class _Table(BaseModel):
    """A table of a recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EncoderSettings(_Table):
    """A SAM-type vision transformer."""

    width: int = Field(gt=0, description="of a token")
    depth: int = Field(gt=0, description="blocks")
    heads: int = Field(gt=0)
    patch_px: int = Field(gt=0)
    window_tokens: int = Field(gt=0, description="side of the attention windows")
    global_blocks: list[int] = Field(description="blocks that attend across the whole slice")
    neck_channels: int = Field(gt=0)
    trained: bool = Field(description="True: all of it is trained; False: frozen but for LoRA")

    @model_validator(mode="after")
    def _heads_and_blocks_fit(self) -> EncoderSettings:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if not set(self.global_blocks) <= set(range(self.depth)):
            raise ValueError(f"global_blocks {self.global_blocks} reach beyond depth {self.depth}")
        return self


class LoraSettings(_Table):
    """Low-rank adapters in the encoder's blocks; alpha equals the rank."""

    ranks: dict[LayerName, int] = Field(min_length=1)
    blocks: list[int] = Field(default=[], description="which blocks are adapted; empty: all")
    dropout: float = Field(default=0.05, ge=0, lt=1)


class DecoderSettings(_Table):
    """Widths of the decoder, one stage for each doubling of resolution."""

    widths: list[int] = Field(min_length=2)
    detail_width: int = Field(
        default=0, ge=0, description="of the image's branch at full resolution; 0: none"
    )


class NetworkSettings(_Table):
    """What is trained."""

    encoder: EncoderSettings
    lora: LoraSettings | None = None
    decoder: DecoderSettings

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


class DataSettings(_Table):
    """Which slices are learned from."""

    empty_slices: float = Field(
        ge=0, le=1, description="share drawn, each epoch, of those without lesion"
    )
    validation_share: float = Field(gt=0, lt=1, description="of the scans")


class LossSettings(_Table):
    """Focal + soft Dice on the fused output, and again on each scale, weighted."""

    focal_alpha: float = Field(default=0.75, gt=0, lt=1)
    focal_gamma: float = Field(default=2.0, ge=0)
    scale_weights: list[float] = Field(description="of the auxiliary losses, coarse to fine")


class OptimiserSettings(_Table):
    """AdamW."""

    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    mixed_precision: Literal["no", "bf16"] = "no"


class ScheduleSettings(_Table):
    """Linear warm-up, then cosine annealing with warm restarts."""

    epochs: int = Field(gt=0)
    warmup_epochs: int = Field(ge=0)
    restart_epochs: int = Field(gt=0, description="length of one cosine")
    batch_size: int = Field(gt=0)
    seed: int = Field(ge=0)


class Recipe(_Table):
    """Everything that decides a training."""

    name: str
    channels: list[str] = Field(default=["flair"], min_length=1)
    outputs: list[OutputName] = Field(default=["wmh"], min_length=1)
    preparation: Preparation
    network: NetworkSettings
    data: DataSettings
    loss: LossSettings
    optimiser: OptimiserSettings
    schedule: ScheduleSettings

    @field_validator("channels", "outputs")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError(f"{names} names one twice")
        return names

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
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "recipe"
        raise RecipeError(
            f"{where}: {first['msg']} ({error.error_count()} problem(s) in all)",
            "Compare it with a shipped recipe.",
            about=name_or_path,
        ) from error


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the program."""
    files = (resources.files("wmh_train") / "recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
