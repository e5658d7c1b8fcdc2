"""From a checkpoint in MedSAM's exact format to one of ours: the real ViT-B on small slices."""

import pytest
import torch
from safetensors.torch import load_file

from tests.toys import fit_data, method_on_small_slices, write_annotated_heads
from wmh_train.checkpoint import load_facts, load_network
from wmh_train.loop.fit import FitListener, fit
from wmh_train.model.base import read_base
from wmh_train.model.random_base import write_random_base


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("medsam")
    recipe = method_on_small_slices()
    write_random_base(folder / "medsam_vit_b.pth", recipe.network.encoder, seed=0)
    heads = write_annotated_heads(folder / "heads", 4)
    base = read_base(folder / "medsam_vit_b.pth")
    fit(recipe, fit_data(heads, recipe), folder / "run", base, FitListener())
    return folder / "run", base


def test_what_was_trained_comes_back_to_the_same_bits(run):
    folder, base = run
    facts = load_facts(folder)
    image = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        predictions = [load_network(folder, facts, base.path)(image).fused for _ in range(2)]
    assert torch.equal(*predictions)
    assert facts.base == base.identity


def test_real_steps_were_made_and_the_encoder_stayed_medsams(run):
    folder, base = run
    network = load_network(folder, load_facts(folder), base.path)
    state = network.state_dict()
    # LoRA's second matrices start at zero: what is not zero was learned.
    second = [name for name in state if ".lora_B." in name]
    assert len(second) == 12 * 4
    assert all(state[name].any() for name in second)
    for block in (0, 11):
        stored = base.read()[f"blocks.{block}.attn.qkv.weight"]
        loaded = state[f"encoder.base_model.model.blocks.{block}.attn.qkv.base_layer.weight"]
        assert torch.equal(loaded, stored)


def test_the_file_holds_adapters_and_decoder_alone_in_half_precision(run):
    folder, _ = run
    (path,) = folder.glob("model-*.safetensors")
    stored = load_file(path)
    parameters = sum(tensor.numel() for tensor in stored.values() if tensor.dtype == torch.float16)
    assert parameters == 7_054_440  # LoRA 6,488,064, channel adapter 243, decoder 566,133
    assert path.stat().st_size < 15e6
