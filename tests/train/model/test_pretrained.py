import copy

import pytest
import torch
import torch.nn.functional as F

from wmh_runtime.errors import InputError
from wmh_runtime.files.hashing import sha256_file
from wmh_train.model.network import build_network, parameter_counts
from wmh_train.model.pretrained import load_pretrained, read_pretrained
from wmh_train.model.random_pretrained import write_random_pretrained
from wmh_train.model.sam import build_image_encoder
from wmh_train.recipe.network import EncoderSettings
from wmh_train.recipe.recipe import load_recipe

SMALL = EncoderSettings(
    width=16,
    depth=2,
    heads=2,
    patch_px=16,
    window_tokens=4,
    global_blocks=[1],
    neck_channels=16,
    trained=False,
)


@pytest.fixture(scope="module")
def pretrained_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pretrained") / "small.pth"
    write_random_pretrained(path, SMALL, seed=0)
    return path


def changed(pretrained_file, tmp_path, change):
    """Write the file with a changed state dict."""
    state = torch.load(pretrained_file, weights_only=True)
    state = change(state) or state
    path = tmp_path / "changed.pth"
    torch.save(state, path)
    return path


def test_random_weights_have_the_keys_and_sizes_of_segment_anything(tmp_path):
    # SAM's published sizes for vit_b: 93,735,472 parameters, 89,670,912 in the image encoder.
    path = tmp_path / "medsam_vit_b.pth"
    write_random_pretrained(path, load_recipe("wmh-lora").network.encoder, seed=0)
    state = torch.load(path, weights_only=True)
    buffer = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    assert sum(t.numel() for k, t in state.items() if k != buffer) == 93_735_472
    assert sum(t.numel() for t in read_pretrained(path).read().values()) == 89_670_912


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [  # SAM's published sizes of its image encoders, at 1024 pixels
        ({}, 89_670_912),
        ({"width": 1024, "depth": 24, "heads": 16, "global_blocks": [5, 11, 17, 23]}, 308_278_272),
        ({"width": 1280, "depth": 32, "heads": 16, "global_blocks": [7, 15, 23, 31]}, 637_026_048),
    ],
)
def test_vit_b_l_and_h_have_the_published_numbers_of_parameters(changes, parameters):
    settings = load_recipe("wmh-lora").network.encoder.model_copy(update=changes)
    with torch.device("meta"):
        encoder = build_image_encoder(settings, 1024)
    assert sum(p.numel() for p in encoder.parameters()) == parameters


def test_at_the_original_size_all_weights_are_equal(pretrained_file):
    pretrained = read_pretrained(pretrained_file)
    encoder = build_image_encoder(SMALL, 1024)
    load_pretrained(encoder, pretrained)
    state = encoder.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in pretrained.read().items())
    assert pretrained.identity.sha256 == sha256_file(pretrained_file)


def test_only_positions_are_resized(pretrained_file):
    pretrained = read_pretrained(pretrained_file)
    encoder = build_image_encoder(SMALL, 128)  # 8 × 8 tokens instead of 64 × 64
    load_pretrained(encoder, pretrained)
    state = encoder.state_dict()
    resized = {key for key, tensor in pretrained.read().items() if state[key].shape != tensor.shape}
    assert resized == {"pos_embed", "blocks.1.attn.rel_pos_h", "blocks.1.attn.rel_pos_w"}
    assert state["pos_embed"].shape == (1, 8, 8, 16)
    assert state["blocks.1.attn.rel_pos_h"].shape == (15, 8)  # 2 · 8 − 1 distances
    assert all(torch.equal(state[k], t) for k, t in pretrained.read().items() if k not in resized)


def _with_ramps(state):
    embedding = torch.arange(64.0)[None, :, None, None].expand(1, 64, 64, 16)
    state["image_encoder.pos_embed"] = embedding.contiguous()
    table = torch.arange(127.0)[:, None].expand(127, 8)
    state["image_encoder.blocks.1.attn.rel_pos_h"] = table.contiguous()


def test_a_linear_ramp_of_positions_stays_linear(pretrained_file, tmp_path):
    encoder = build_image_encoder(SMALL, 512)
    load_pretrained(encoder, read_pretrained(changed(pretrained_file, tmp_path, _with_ramps)))
    # 64 → 32: pixel i is at position 2 i + 0.5. 127 → 63: at (i + 0.5) 127 / 63 − 0.5.
    rows = encoder.pos_embed[0, 2:-2, 5, 3]
    torch.testing.assert_close(rows, 2 * torch.arange(2.0, 30.0) + 0.5, atol=1e-4, rtol=0)
    distances = encoder.state_dict()["blocks.1.attn.rel_pos_h"][:, 0]
    torch.testing.assert_close(distances, (torch.arange(63) + 0.5) * 127 / 63 - 0.5)


def test_relative_positions_are_resized_as_in_segment_anything(pretrained_file):
    pretrained = read_pretrained(pretrained_file)
    ours = build_image_encoder(SMALL, 128).eval()
    load_pretrained(ours, pretrained)
    theirs = copy.deepcopy(ours)
    attention = theirs.blocks[1].attn  # interpolates the table of 64 tokens itself
    attention.rel_pos_h.data = pretrained.read()["blocks.1.attn.rel_pos_h"]
    attention.rel_pos_w.data = pretrained.read()["blocks.1.attn.rel_pos_w"]
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image))


def test_adapters_are_added_to_the_pretrained_weights(pretrained_file):
    recipe = load_recipe("wmh-lora")
    network = recipe.network.model_copy(
        update={"encoder": SMALL, "lora": recipe.network.lora.model_copy(update={"blocks": [0]})}
    )
    preprocessing = recipe.preprocessing.model_copy(update={"size_px": 64})
    small = recipe.model_copy(update={"network": network, "preprocessing": preprocessing})
    pretrained = read_pretrained(pretrained_file)
    built = build_network(small, pretrained)
    layer = built.encoder.base_model.model.blocks[0].attn.qkv.base_layer
    assert torch.equal(layer.weight, pretrained.read()["blocks.0.attn.qkv.weight"])
    assert not layer.weight.requires_grad
    assert parameter_counts(built).encoder == 0
    assert F.relu(built(torch.randn(1, 1, 64, 64)).fused).shape == (1, 1, 64, 64)


def _without_a_key(state):
    del state["image_encoder.neck.0.weight"]


def _with_an_unknown_key(state):
    state["image_encoder.neck.9.weight"] = torch.zeros(1)


def _with_another_width(state):
    state["image_encoder.patch_embed.proj.bias"] = torch.zeros(32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_a_key, r"lacks image_encoder\.neck\.0\.weight \(1 keys"),
        (_with_an_unknown_key, r"has the unknown key image_encoder\.neck\.9\.weight"),
        (_with_another_width, r"patch_embed\.proj\.bias has shape \[32\], .* has \[16\]"),
    ],
)
def test_weights_of_another_encoder_are_refused(pretrained_file, tmp_path, change, message):
    pretrained = read_pretrained(changed(pretrained_file, tmp_path, change))
    with pytest.raises(InputError, match=message):
        load_pretrained(build_image_encoder(SMALL, 64), pretrained)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"global_blocks": [0]},
            r"global attention in blocks \[1\], the recipe's encoder in \[0\]",
        ),
        ({"global_blocks": [0, 1]}, r"global attention in blocks \[1\], .* in \[0, 1\]"),
        ({"global_blocks": []}, r"global attention in blocks \[1\], .* in \[\]"),
        ({"window_tokens": 2}, r"blocks\.0\.attn\.rel_pos_h has shape \[7, 8\], .* has \[3, 8\]"),
    ],
)
def test_an_encoder_with_other_attention_is_refused(pretrained_file, changes, message):
    other = SMALL.model_copy(update=changes)
    with pytest.raises(InputError, match=message):
        load_pretrained(build_image_encoder(other, 128), read_pretrained(pretrained_file))


def _training_state(state):
    return {"model": state, "optimizer": {}, "epoch": 3}


def _from_data_parallel(state):
    return {f"module.{key}": tensor for key, tensor in state.items()}


def _not_finite(state):
    state["image_encoder.neck.0.weight"][0] = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_training_state, r"state dict that contains only tensors \(model, optimizer, epoch"),
        (_from_data_parallel, r"contains module\.\S+, so it is not a SAM model"),
        (lambda state: {"mask_decoder.x": torch.zeros(1)}, "contains no image_encoder"),
        (lambda state: [1, 2], "is not a state dict that contains only tensors"),
        (_not_finite, r"neck\.0\.weight is not finite"),
    ],
)
def test_other_files_of_tensors_are_refused(pretrained_file, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_pretrained(changed(pretrained_file, tmp_path, change))


def test_other_files_are_refused_and_no_code_in_them_is_executed(tmp_path, pretrained_file):
    text = tmp_path / "text.pth"
    text.write_text("weights")
    with pytest.raises(InputError, match="is not a file of PyTorch weights"):
        read_pretrained(text)
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        read_pretrained(tmp_path / "none.pth")
    truncated = tmp_path / "truncated.pth"
    truncated.write_bytes(pretrained_file.read_bytes()[:5000])
    with pytest.raises(InputError, match="is not a file of PyTorch weights"):
        read_pretrained(truncated)

    class Harmful:
        def __reduce__(self):
            return (tmp_path.joinpath("harm").mkdir, ())

    torch.save({"image_encoder.x": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(InputError, match="is not a file of PyTorch weights"):
        read_pretrained(tmp_path / "harmful.pth")
    assert not (tmp_path / "harm").exists()


def test_random_weights_do_not_depend_on_the_number_of_threads(tmp_path):
    settings = load_recipe("wmh-lora").network.encoder
    one_block = settings.model_copy(update={"depth": 1, "global_blocks": [0]})
    written, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            write_random_pretrained(tmp_path / f"{threads}.pth", one_block, seed=0)
            written.append(torch.load(tmp_path / f"{threads}.pth", weights_only=True))
    finally:
        torch.set_num_threads(before)
    for key, tensor in written[0].items():
        assert torch.equal(tensor, written[1][key]), key
