import pytest

import environment
import tenants


def pytest_configure(config):
    missing = environment.missing()
    if missing:
        raise pytest.UsageError("\n".join(missing))


def pytest_collection_modifyitems(items):
    if not environment.DIRECT:
        return
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


@pytest.fixture(scope="module")
def key():
    """A key of a tenant without limits, for modules with many requests."""
    if environment.DIRECT:
        yield environment.value("TOLLGATE_KEY")
        return
    with tenants.tenant() as own:
        yield own.key()["key"]


@pytest.fixture
def claude(key):
    with environment.anthropic_client(key) as client:
        yield client
