import pytest
from rounds import NAMES, VARIANTS, made

# One of each kind; the others compile for long, and do little that these do not.
QUICK = {
    "fedcode, conditional at a price",
    "fedavg, both by codebooks",
    "fedavg, down and kept",
}
CASES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]


@pytest.fixture(params=NAMES + CASES)
def algorithm(request):
    return made(request.param)
