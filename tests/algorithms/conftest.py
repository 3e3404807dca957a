import pytest
from rounds import NAMES, VARIANTS, made


@pytest.fixture(params=NAMES + list(VARIANTS))
def algorithm(request):
    return made(request.param)
