"""The matmul ceiling with matrices that take no time, in another process too."""

from wmh_bench.ceilings import matmul_ceiling
from wmh_bench.ceilings.matmul_ceiling import Ceiling


def measure_small_ceiling(*arguments) -> Ceiling:
    """Measure with matrices of 128 × 128 for a moment. Patched: it runs in a process of its own."""
    matmul_ceiling._CPU_MATRIX_SIZE = 128
    matmul_ceiling._BATCH_S = matmul_ceiling._MIN_DURATION_S = 0.001
    return matmul_ceiling.measure_ceiling(*arguments)
