import numpy as np
import pytest

from tests.runtime.image_quality.quality_toys import toy_slices
from wmh_runtime.image_quality.contrast import contrast_percent

WHITE = np.zeros((4, 20, 40), bool)
WHITE[:, :, :20] = True
STACK = np.where(WHITE, 100, 88)


def test_the_cortex_is_compared_with_white_matter():
    assert contrast_percent(toy_slices(STACK, white=WHITE, cortex=~WHITE)) == pytest.approx(-12)


def test_without_one_of_both_the_contrast_is_not_known():
    assert contrast_percent(toy_slices(STACK, white=WHITE)) is None
    assert contrast_percent(toy_slices(STACK, cortex=WHITE)) is None
    assert contrast_percent(toy_slices(STACK, white_level=None, white=WHITE, cortex=~WHITE)) is None
