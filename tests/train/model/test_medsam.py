"""Train the real ViT-B on small slices, from weights in the exact format of MedSAM."""

import pytest
import torch
from safetensors.torch import load_file

from tests.toys import write_annotated_heads
from tests.training_toys import fit_data, method_on_small_slices
from wmh_train.checkpoint import load_metadata, load_network
from wmh_train.fit.fit import FitListener, fit
from wmh_train.model.pretrained import read_pretrained
from wmh_train.model.random_pretrained import write_random_pretrained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("medsam")
    recipe = method_on_small_slices()
    write_random_pretrained(folder / "medsam_vit_b.pth", recipe.network.encoder, seed=0)
    heads = write_annotated_heads(folder / "heads", 4)
    pretrained = read_pretrained(folder / "medsam_vit_b.pth")
    fit(recipe, fit_data(heads, recipe), folder / "run", pretrained, FitListener())
    return folder / "run", pretrained


def test_a_loaded_checkpoint_always_predicts_the_same_bits(run):
    folder, pretrained = run
    metadata = load_metadata(folder)
    image = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        predictions = [
            load_network(folder, metadata, pretrained.path)(image).fused for _ in range(2)
        ]
    assert torch.equal(*predictions)
    assert metadata.pretrained == pretrained.identity


def test_lora_was_trained_and_the_encoder_stayed_frozen(run):
    folder, pretrained = run
    network = load_network(folder, load_metadata(folder), pretrained.path)
    state = network.state_dict()
    # LoRA's second matrices are initialized to zero.
    lora_b = [name for name in state if ".lora_B." in name]
    assert len(lora_b) == 12 * 4
    assert all(state[name].any() for name in lora_b)
    for block in (0, 11):
        stored = pretrained.read()[f"blocks.{block}.attn.qkv.weight"]
        loaded = state[f"encoder.base_model.model.blocks.{block}.attn.qkv.base_layer.weight"]
        assert torch.equal(loaded, stored)


def test_the_file_contains_only_adapters_and_decoder_in_half_precision(run):
    folder, _ = run
    (path,) = folder.glob("model-*.safetensors")
    stored = load_file(path)
    parameters = sum(tensor.numel() for tensor in stored.values() if tensor.dtype == torch.float16)
    assert parameters == 7_054_440  # LoRA 6,488,064, channel adapter 243, decoder 566,133
    assert path.stat().st_size < 15e6
