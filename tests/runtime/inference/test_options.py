"""Options of inference: impossible values are refused with the name of the field."""

import pytest

from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.errors import InputError
from wmh_runtime.inference.options import InferenceOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tta": "fast"}, "tta: is fast. Choose from: full, none, adaptive"),
        ({"precision": "fp8"}, "precision: is fp8"),
        ({"backend": "cuda"}, "backend: there is no backend cuda"),
        ({"threshold": 0}, "threshold: is 0, expected above 0 and at most 1"),
        ({"threshold": 1.5}, "threshold: is 1.5"),
        ({"min_lesion_mm3": -1}, "min_lesion_mm3: is -1"),
        ({"threads": 0}, "threads: is 0. Give 1 or more"),
        ({"batch_size": 0}, "batch_size: is 0. Give 1 or more"),
        ({"gpus": 0}, "gpus: is 0. Give a tuple of GPU indices"),
    ],
)
def test_impossible_values_are_refused(values, message):
    with pytest.raises(InputError) as raised:
        InferenceOptions(**values)
    assert message in str(raised.value)


def test_the_backend_is_named_in_lower_case():
    assert InferenceOptions(backend="Auto").backend == "auto"


def test_threshold_and_size_replace_those_of_the_bundle(toy_bundle):
    bundle = load_bundle(toy_bundle)  # threshold 0.75 with eight views and 0.8 with one, 20 mm³
    (output,) = InferenceOptions(tta="none").outputs(bundle)
    assert (output.threshold, output.min_lesion_mm3) == (0.8, 20)
    (output,) = InferenceOptions(threshold=0.4, min_lesion_mm3=3).outputs(bundle)
    assert (output.threshold, output.min_lesion_mm3) == (0.4, 3)
