import openai
import pytest

import tenants
from environment import FAST, client as client_for


def test_list(client):
    models = list(client.models.list())
    assert FAST in {model.id for model in models}
    assert {model.object for model in models} == {"model"}
    assert all(isinstance(model.created, int) and model.owned_by for model in models)


def test_retrieve(client):
    assert client.models.retrieve(FAST).id == FAST


def test_retrieve_by_provider_and_name(client):
    # The SDK writes the slash as %2F.
    assert client.models.retrieve("simulated/sim-small").id == "simulated/sim-small"


def test_retrieve_what_is_not_there(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


@pytest.mark.gateway
def test_a_key_sees_the_models_it_may_use():
    models = {"fast": {"target": "simulated/sim-small"}, "large": {"target": "simulated/sim-large"}}
    with tenants.tenant(models=models) as own, client_for(own.key(models=["fast"])["key"]) as client:
        seen = {model.id for model in client.models.list()}
        assert "fast" in seen and "large" not in seen
