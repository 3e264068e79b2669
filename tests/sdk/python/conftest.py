import pytest

import environment


def pytest_configure(config):
    missing = environment.missing()
    if missing:
        raise pytest.UsageError("\n".join(missing))


def pytest_collection_modifyitems(items):
    if environment.DIRECT:
        for item in items:
            if item.get_closest_marker("gateway"):
                item.add_marker(pytest.mark.skip(reason="needs the gateway"))


@pytest.fixture
def client():
    with environment.client() as client:
        yield client


@pytest.fixture
def mark():
    return environment.marker()
