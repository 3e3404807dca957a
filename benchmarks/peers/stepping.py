"""What the programs that ``benchmarks/client_steps.py`` times have in common."""

import json
import sys
import time
from collections.abc import Callable

SHAPES = {
    "cnn_pfl": ((32, 32, 3), 10),
    "resnet20": ((32, 32, 3), 10),
    "mobilenet_v2": ((32, 32, 3), 10),
    "yamnet": ((96, 64, 1), 12),
}
"""Images [H, W, C] and number of classes of each model."""


def answer(steps: Callable[[int], None], parameters: int) -> None:
    """Trains as many steps as each line of the input says; answers with seconds of a step.

    Args:
      steps: trains for so many steps.
      parameters: that are trained, by which programs are told to have the same model.
    """
    steps(1)
    print(json.dumps({"parameters": parameters}), flush=True)
    for line in sys.stdin:
        count = int(line)
        wall, cpu = time.perf_counter(), time.process_time()
        steps(count)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"wall": wall / count, "cpu": cpu / count}), flush=True)
