import pytest
import torch

from tests.networks import small_convolutional_recipe
from wmh_runtime.errors import InputError
from wmh_train.model.convolutional.vgg16_unet import Vgg16Encoder, read_vgg16
from wmh_train.model.network import build_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in the format of torchvision's vgg16_bn, with random weights."""
    torch.manual_seed(0)
    state = Vgg16Encoder(channels=3).state_dict()
    state["classifier.0.weight"] = torch.zeros(2, 2)
    path = tmp_path_factory.mktemp("vgg16") / "vgg16_bn.pth"
    torch.save(state, path)
    return path


def changed(weights, tmp_path, change):
    state = torch.load(weights)
    change(state)
    path = tmp_path / "changed.pth"
    torch.save(state, path)
    return path


def test_the_encoder_has_the_keys_and_sizes_of_torchvision():
    # Layers of torchvision's vgg16_bn: convolutions at these places of `features`.
    state = Vgg16Encoder(channels=3).state_dict()
    convolutions = [key for key, tensor in state.items() if tensor.ndim == 4]
    places = [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]
    assert convolutions == [f"features.{place}.weight" for place in places]
    # 14,714,688 weights and biases of VGG16's convolutions, and 8,448 of BatchNorm.
    count = sum(p.numel() for p in Vgg16Encoder(channels=3).parameters())
    assert count == 14_714_688 + 8_448


def test_an_image_in_one_channel_has_the_features_of_a_gray_photograph(weights):
    recipe = small_convolutional_recipe("vgg16-unet")
    network = build_network(recipe, read_vgg16(weights)).eval()
    photograph = Vgg16Encoder(channels=3).eval()
    photograph.load_state_dict(
        {key: one for key, one in torch.load(weights).items() if key.startswith("features")}
    )
    # torchvision's preprocessing: colors from 0 to 1, minus the mean of ImageNet, over its spread.
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    spread = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    image = torch.rand(1, 1, 64, 64)
    expected = photograph((image - mean) / spread)
    assert [f.shape[-1] for f in expected] == [64, 32, 16, 8, 4]
    found = network.encoder(image)
    assert [f.shape[-1] for f in found] == [64, 32, 16, 8, 4]
    # Within 2 pixels of the edge, both see other values beyond it; coarser pixels see further.
    for level, margin in ((0, 2), (1, 3), (2, 5)):
        inner = (..., slice(margin, -margin), slice(margin, -margin))
        torch.testing.assert_close(
            found[level][inner], expected[level][inner], rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("features.3.weight"), "1 keys differ, such as features.3.weight"),
        (lambda s: s.update({"encoder.x": torch.zeros(1)}), "such as encoder.x"),
        (lambda s: s.update({"features.0.bias": torch.zeros(3)}), r"has shape \[3\], not \[64\]"),
        (lambda s: s["features.0.bias"].fill_(torch.nan), "features.0.bias is not finite"),
    ],
)
def test_another_file_is_refused(weights, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_vgg16(changed(weights, tmp_path, change))


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    (tmp_path / "a.pth").write_text("text")
    with pytest.raises(InputError, match="not a file of PyTorch weights"):
        read_vgg16(tmp_path / "a.pth")
    with pytest.raises(InputError, match="cannot be read"):
        read_vgg16(tmp_path / "none.pth")
