import pytest

import environment


def pytest_configure(config):
    missing = environment.missing()
    if missing:
        raise pytest.UsageError("\n".join(missing))


def pytest_collection_modifyitems(items):
    skipped = ("gateway", "needs the gateway") if environment.DIRECT else ("direct", "the gateway has no /v1/embeddings")
    for item in items:
        if item.get_closest_marker(skipped[0]):
            item.add_marker(pytest.mark.skip(reason=skipped[1]))


@pytest.fixture
def client():
    with environment.client() as client:
        yield client


@pytest.fixture
def mark():
    return environment.marker()
