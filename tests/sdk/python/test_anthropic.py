"""Anthropic's SDK, with a provider of each format behind the gateway."""

import asyncio
import json

import anthropic
import pytest

import environment
import journal
import tenants
from environment import DIRECT, FORMATS, PICTURE, SCHEMA, user

TOOLS = [{"name": "weather", "description": "The weather of the next days", "input_schema": SCHEMA}]
NAMES = ["anthropic"] if DIRECT else list(FORMATS)
each = pytest.mark.parametrize("name", NAMES)


def model(name, steering):
    return f"{FORMATS[name][0]}/{steering}"


def calls(message):
    """Without the blocks in which a signature travels that belongs to no thinking."""
    return [block for block in message.content if block.type == "tool_use"]


@each
def test_a_message(claude, mark, name):
    answer = claude.messages.create(
        model=model(name, "sim-t1-i1-n12-r5"), max_tokens=100, system="Be brief.", messages=user(mark))
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert len(answer.content[0].text.split(" ")) == 12
    assert (answer.usage.output_tokens, answer.usage.cache_read_input_tokens) == (12, 5)
    entry = journal.ended(mark)
    assert entry["path"].startswith(FORMATS[name][1])
    assert "Be brief." in json.dumps(entry["body"])


@each
def test_a_stream(claude, mark, name):
    with claude.messages.stream(model=model(name, "sim-t1-i1-n12"), max_tokens=100, messages=user(mark)) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert (final.content[0].text, final.stop_reason) == (text, "end_turn")
    assert final.usage.output_tokens == 12 and final.usage.input_tokens > 0
    entry = journal.ended(mark)
    assert entry["stream"] and entry["path"].startswith(FORMATS[name][1])


@each
def test_tools(claude, mark, name):
    asked = {"model": model(name, "sim-t1-i0-p2"), "max_tokens": 200, "tools": TOOLS}
    with claude.messages.stream(messages=user(mark), **asked) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json" and event.partial_json]
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use" and len(pieces) >= 2
    assert [(call.name, call.input["days"]) for call in calls(first)] == [("weather", 2), ("weather", 2)]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"} for call in calls(first)]
    second = claude.messages.create(messages=[
        *user(mark), {"role": "assistant", "content": first.content}, {"role": "user", "content": results}], **asked)
    assert second.content[0].type == "text"
    assert [entry["status"] for entry in journal.requests_with(mark)] == [200, 200]


@each
def test_structured_output_from_a_picture(claude, mark, name):
    content = [
        {"type": "text", "text": mark},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
    ]
    answer = claude.messages.create(
        model=model(name, "sim-t1-i0"), max_tokens=100, messages=[{"role": "user", "content": content}],
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert json.loads(answer.content[0].text)["days"] == 2
    assert f'{PICTURE}"' in json.dumps(journal.ended(mark)["body"])


@each
def test_counting(claude, name):
    assert claude.messages.count_tokens(model=model(name, "sim-t1"), messages=user("Count this.")).input_tokens > 5


def test_cancelling_a_task_ends_the_stream_at_the_provider(key, mark):
    name = "anthropic" if DIRECT else "bedrock"

    async def cancel_after_the_first_text():
        async with environment.async_anthropic_client(key) as client:
            started = asyncio.Event()

            async def consume():
                async with client.messages.stream(
                        model=model(name, "sim-i100-n100"), max_tokens=200, messages=user(mark)) as stream:
                    async for _ in stream.text_stream:
                        started.set()

            task = asyncio.create_task(consume())
            await asyncio.wait_for(started.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancel_after_the_first_text())
    entry = journal.ended(mark)
    assert entry["ended"] == "client_gone" and len(entry["chunks_sent"]) < 30


@pytest.mark.gateway
def test_errors_have_their_types(claude, mark):
    def refusal(of=claude, target="simulated-anthropic/sim", **more):
        with pytest.raises(anthropic.APIStatusError) as caught:
            of.messages.create(**{"model": target, "max_tokens": 20, "messages": user(mark), **more})
        error = caught.value
        assert error.body["type"] == "error"
        return type(error), error.status_code, error.body["error"]["type"], error.body["error"]["code"]

    patient = claude.with_options(max_retries=0)
    assert refusal(environment.anthropic_client("bad-key")) == (
        anthropic.AuthenticationError, 401, "authentication_error", "invalid_api_key")
    assert refusal(target="no-such-alias") == (anthropic.NotFoundError, 404, "not_found_error", "model_not_found")
    assert refusal(messages="not a list")[:3] == (anthropic.BadRequestError, 400, "invalid_request_error")
    assert refusal(patient, f"simulated-gemini/sim-e500-{mark}") == (
        anthropic.InternalServerError, 502, "api_error", "upstream_error")
    slow = patient.with_options(default_headers={"x-tollgate-timeout-ms": "300"})
    assert refusal(slow, f"simulated-bedrock/hang-{mark}") == (
        # A type of its own, beside the other errors of a server.
        anthropic.DeadlineExceededError, 504, "timeout_error", "upstream_timeout")


@pytest.mark.gateway
def test_limits_and_budgets(mark):
    with tenants.tenant(limits=[{"id": "one", "scope": "tenant", "requests": 1, "window_s": 60}]) as own:
        with environment.anthropic_client(own.key()["key"], max_retries=0) as client:
            asked = {"model": "fast", "max_tokens": 40, "messages": user(mark)}
            raw = client.messages.with_raw_response.create(**asked)
            assert raw.headers["anthropic-ratelimit-requests-remaining"] == "0"
            with pytest.raises(anthropic.RateLimitError) as caught:
                client.messages.create(**asked)
            assert int(caught.value.response.headers["retry-after"]) > 0
    with tenants.tenant(budgets=[{"id": "tiny", "scope": "tenant", "limit_usd": "0.000001", "period": "total"}]) as own:
        with environment.anthropic_client(own.key()["key"]) as client, pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model="fast", max_tokens=40, messages=user(mark))
        assert caught.value.status_code == 402
        assert caught.value.body["error"]["code"] == "budget_exceeded"
