import re
import time

import openai
import pytest

import journal
import tenants
from environment import DIRECT, MODEL, client as client_for, user, value
from test_headers import ULID


def assert_refused(caught, status, error_type, code):
    error = caught.value
    assert (error.status_code, error.type, error.code) == (status, error_type, code)
    assert isinstance(error.body["message"], str) and error.body["message"]
    assert re.fullmatch(ULID, error.request_id or "")


def test_bad_key(mark):
    with client_for("bad-key") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model=MODEL, messages=user(mark))
    assert caught.value.code == "invalid_api_key"
    if not DIRECT:
        assert_refused(caught, 401, "authentication_error", "invalid_api_key")
    assert "retry-after" not in caught.value.response.headers


@pytest.mark.gateway
def test_a_key_with_a_changed_letter(mark):
    key = value("TOLLGATE_KEY")
    changed = key[:-10] + ("A" if key[-10] != "A" else "B") + key[-9:]
    with client_for(changed) as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model=MODEL, messages=user(mark))
    assert_refused(caught, 401, "authentication_error", "invalid_api_key")
    assert changed not in str(caught.value)


@pytest.mark.gateway
def test_a_deleted_key(mark):
    with tenants.tenant() as own:
        key = own.key()
        with client_for(key["key"]) as client:
            client.chat.completions.create(model="fast", messages=user(f"{mark} before"))
            own.delete_key(key["id"])
            with pytest.raises(openai.AuthenticationError) as caught:
                client.chat.completions.create(model="fast", messages=user(f"{mark} after"))
    assert_refused(caught, 401, "authentication_error", "invalid_api_key")
    assert journal.requests_with(f"{mark} after") == []


def test_unknown_model(client, mark):
    # An alias that nobody set; the provider itself answers 404 to this name.
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-alias-e404", messages=user(mark))
    assert caught.value.code == "model_not_found"
    if not DIRECT:
        assert_refused(caught, 404, "invalid_request_error", "model_not_found")
        assert journal.requests_with(mark) == []


@pytest.mark.gateway
def test_unknown_provider(client, mark):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-provider/model", messages=user(mark))
    assert_refused(caught, 404, "invalid_request_error", "model_not_found")


def test_wrong_field(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages="not a list")
    assert caught.value.param == "messages"
    if not DIRECT:
        assert_refused(caught, 400, "invalid_request_error", "invalid_request")


@pytest.mark.gateway
def test_model_not_allowed(mark):
    with tenants.tenant() as own, client_for(own.key(models=["fast"])["key"]) as client:
        assert client.chat.completions.create(model="fast", messages=user(f"{mark} allowed")).choices
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.chat.completions.create(model="simulated/sim-large", messages=user(f"{mark} refused"))
    assert_refused(caught, 403, "permission_error", "model_not_allowed")
    assert journal.requests_with(f"{mark} refused") == []


def test_what_the_provider_refuses_is_told(mark):
    with client_for(max_retries=0) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=f"simulated/sim-e400-{mark}", messages=user(mark))
    assert "refuse" in str(caught.value)


@pytest.mark.gateway
def test_the_providers_key_is_not_told(mark):
    # Like OpenAI, the simulated provider repeats the key that it refuses.
    with client_for(max_retries=0) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=f"simulated/sim-e401-{mark}", messages=user(mark))
    headers = {name.lower(): value for name, value in journal.requests_with(mark)[0]["headers"].items()}
    key = headers["authorization"].removeprefix("Bearer ")
    assert f"provided: {key}" not in caught.value.response.text


# The models of the next tests have names of their own, so that a circuit breaker that one run opened does not
# answer the next run.

@pytest.mark.gateway
@pytest.mark.parametrize("stream", [False, True])
def test_every_target_failed(mark, stream):
    with client_for(max_retries=0) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=f"simulated/sim-e500-{mark}", messages=user(mark), stream=stream)
    assert_refused(caught, 502, "api_error", "upstream_error")
    assert "attempts" in caught.value.body
    assert len(journal.requests_with(mark)) >= 1


@pytest.mark.gateway
@pytest.mark.parametrize("stream", [False, True])
def test_upstream_too_slow(mark, stream):
    with client_for(max_retries=0) as client, pytest.raises(openai.InternalServerError) as caught:
        begun = time.monotonic()
        client.chat.completions.create(
            model=f"simulated/hang-{mark}", messages=user(mark), stream=stream,
            extra_headers={"x-tollgate-timeout-ms": "300"})
    took = time.monotonic() - begun
    assert_refused(caught, 504, "timeout_error", "upstream_timeout")
    assert 0.25 < took < 2
    # The gateway does not leave the provider working for nobody.
    time.sleep(0.5)
    assert {entry["ended"] for entry in journal.requests_with(mark)} == {"client_gone"}
