"""A package index that answers; without one these tests are skipped, with the reason."""

import pytest

from torchdev.wheels.host import Host, read_host
from torchdev.wheels.uv import index_refusal


@pytest.fixture(scope="session")
def host() -> Host:
    """The settings of this machine, if its index answers, or a skip."""
    found = read_host()
    refusal = index_refusal(found)
    if refusal:
        pytest.skip(refusal)
    return found
