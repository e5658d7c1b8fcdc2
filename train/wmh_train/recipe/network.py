"""The network of a recipe: a SAM-type encoder with its decoder, or one of three U-Nets."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from wmh_runtime.schema import StrictModel
from wmh_train.recipe.intervals import PositiveInt

LayerName = Literal["qkv", "proj", "lin1", "lin2"]
NetworkKind: TypeAlias = Literal["sam-lora", "small-vit", "unet", "monai-unet", "vgg16-unet"]


class EncoderSettings(StrictModel):
    """A SAM-type vision transformer. The recipe `wmh-lora` uses MedSAM's encoder, `vit_b`."""

    width: int = Field(gt=0, description="size of a token")
    depth: int = Field(gt=0, description="number of blocks")
    heads: int = Field(gt=0, description="attention heads per block")
    patch_px: int = Field(gt=0, description="side of a patch")
    window_tokens: int = Field(gt=0, description="side of an attention window")
    global_blocks: list[int] = Field(description="blocks with attention over the whole slice")
    neck_channels: int = Field(gt=0, description="channels of the encoder's output")
    trained: bool = Field(
        description="true: all weights are trained; false: frozen except for LoRA"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="saves memory: activations are computed twice"
    )

    @model_validator(mode="after")
    def _check_heads_and_blocks(self) -> EncoderSettings:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if not set(self.global_blocks) <= set(range(self.depth)):
            raise ValueError(
                f"global_blocks {self.global_blocks} are not all below depth {self.depth}"
            )
        return self


class LoraSettings(StrictModel):
    """Low-rank adapters in the encoder's blocks. Alpha equals the rank."""

    ranks: dict[LayerName, PositiveInt] = Field(min_length=1, description="rank of each layer")
    blocks: list[int] = Field(default=[], description="adapted blocks; empty: all")
    dropout: float = Field(default=0.05, ge=0, lt=1)


class DecoderSettings(StrictModel):
    """Widths of the decoder, one stage per doubling of the resolution."""

    widths: list[PositiveInt] = Field(
        default=[128, 64, 32, 16], min_length=2, description="channels per stage, coarse to fine"
    )
    detail_width: int = Field(
        default=0,
        ge=0,
        description="channels of the detail branch at full resolution; 0: no branch",
    )


class UNetSettings(StrictModel):
    """A small convolutional network with skip connections."""

    widths: list[PositiveInt] = Field(
        min_length=2, description="features at S/2, S/4 and so on, for slices of S × S pixels"
    )


class MonaiUNetSettings(StrictModel):
    """MONAI's U-Net with two convolutions at each resolution, to compare with."""

    widths: list[PositiveInt] = Field(
        default=[32, 32, 64, 128, 256],
        min_length=5,
        max_length=5,
        description="features at S, S/2, S/4, S/8 and S/16, for slices of S × S pixels",
    )


class Vgg16UNetSettings(StrictModel):
    """A U-Net with VGG16 as encoder, which may start from weights learned from photographs."""

    decoder_widths: list[PositiveInt] = Field(
        default=[256, 128, 64, 32],
        min_length=4,
        max_length=4,
        description="features of the decoder at S/8, S/4, S/2 and S",
    )


class NetworkSettings(StrictModel):
    """Layers of the network. Its tables say which kind it is."""

    encoder: EncoderSettings | None = None
    lora: LoraSettings | None = None
    decoder: DecoderSettings = DecoderSettings()
    unet: UNetSettings | None = Field(default=None, description="instead of all others")
    monai_unet: MonaiUNetSettings | None = Field(default=None, description="likewise")
    vgg16_unet: Vgg16UNetSettings | None = Field(default=None, description="likewise")

    @property
    def kind(self) -> NetworkKind:
        """What kind of network it is."""
        if self.encoder is not None:
            return "small-vit" if self.encoder.trained else "sam-lora"
        if self.unet is not None:
            return "unet"
        return "monai-unet" if self.monai_unet is not None else "vgg16-unet"

    @property
    def needs_pretrained(self) -> bool:
        """Whether the encoder is frozen, so that it must have been trained before."""
        return self.encoder is not None and not self.encoder.trained

    @property
    def scale_count(self) -> int:
        """Number of resolutions at which the network has outputs besides its final one."""
        return len(self.decoder.widths) if self.encoder is not None else 0

    @model_validator(mode="after")
    def _check_decoder_and_lora(self) -> NetworkSettings:
        kinds = ("encoder", "unet", "monai_unet", "vgg16_unet")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise ValueError(f"expected one of the tables {', '.join(kinds)}, got {got}")
        if self.encoder is None:
            if self.lora is not None:
                raise ValueError("lora needs an encoder")
            return self
        if 2 ** len(self.decoder.widths) != self.encoder.patch_px:
            raise ValueError(
                f"{len(self.decoder.widths)} decoder widths enlarge patches by"
                f" {2 ** len(self.decoder.widths)}, expected patch_px {self.encoder.patch_px}"
            )
        if self.lora is not None and self.encoder.trained:
            raise ValueError("an encoder with LoRA must be frozen: set encoder.trained = false")
        return self
