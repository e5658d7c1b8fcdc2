"""The settings that differ are named in words of the user."""

from wmh_runtime.outputs.settings import Settings
from wmh_runtime.postprocessing.lesions import Output


def settings(**changes):
    facts = {
        "model_id": "1",
        "bundle": "toy",
        "output": Output(name="wmh", threshold=0.5, min_lesion_mm3=3),
        "backend": "openvino",
        "device": "cpu",
        "precision": "fp32",
        "tta": "full",
    }
    return Settings(**facts | changes)


def test_results_of_another_processing_are_other_results():
    earlier = {key: value for key, value in settings().model_dump().items() if "version" not in key}
    assert Settings(**earlier).differences(settings(processing_version=2), any_backend=True) == {
        "processing_version": (1, 2)
    }


def test_the_threshold_of_empty_slices_is_named_only_if_it_alone_differs():
    adaptive = settings(tta="adaptive", empty_slice_threshold=0.0235)
    assert adaptive.differences(settings(), any_backend=False) == {"tta": ("adaptive", "full")}
    assert settings().differences(adaptive, any_backend=True) == {"tta": ("full", "adaptive")}
    other = settings(tta="adaptive", empty_slice_threshold=0.03)
    assert adaptive.differences(other, any_backend=False) == {
        "empty_slice_threshold": (0.0235, 0.03)
    }
