"""OpenAI's SDK, with a provider of each format behind the gateway."""

import json

import openai
import pytest

import environment
import journal
from environment import FORMATS, PICTURE, SCHEMA, user

pytestmark = pytest.mark.gateway
each = pytest.mark.parametrize("name", list(FORMATS))


@pytest.fixture
def client(key):
    with environment.client(key) as client:
        yield client


def model(name, steering):
    return f"{FORMATS[name][0]}/{steering}"


@each
def test_chat_and_its_stream(client, mark, name):
    asked = {"model": model(name, "sim-t1-i1-n12-r5"), "max_completion_tokens": 100}
    whole = client.chat.completions.create(messages=user(mark), **asked)
    assert whole.choices[0].finish_reason == "stop"
    assert len(whole.choices[0].message.content.split(" ")) == 12
    assert (whole.usage.completion_tokens, whole.usage.prompt_tokens_details.cached_tokens) == (12, 5)
    chunks = list(client.chat.completions.create(
        messages=user(f"{mark} stream"), stream=True, stream_options={"include_usage": True}, **asked))
    assert len("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).split(" ")) == 12
    assert chunks[-1].usage.completion_tokens == 12 and chunks[-2].choices[0].finish_reason == "stop"
    entries = journal.requests_with(mark)
    assert [entry["stream"] for entry in entries] == [False, True]
    assert all(entry["path"].startswith(FORMATS[name][1]) for entry in entries)


@each
def test_tools_of_chat(client, mark, name):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}}]
    asked = {"model": model(name, "sim-t1-i0-p2"), "tools": tools}
    with client.chat.completions.stream(messages=user(mark), **asked) as stream:
        message = stream.get_final_completion().choices[0].message
    assert [call.function.parsed_arguments["days"] for call in message.tool_calls] == [2, 2]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
    second = client.chat.completions.create(messages=[*user(mark), message.to_dict(), *results], **asked)
    assert second.choices[0].message.content


@each
def test_responses(client, mark, name):
    if name == "chat":
        asked = {"model": model(name, "sim-t1-i0-p2"), "store": False}
    else:
        asked = {"model": model(name, "sim-t1-i0-p2")}
    tools = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}]
    with client.responses.stream(input=mark, tools=tools, **asked) as stream:
        deltas = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        first = stream.get_final_response()
    made = [item for item in first.output if item.type == "function_call"]
    assert "".join(deltas) == "".join(call.arguments for call in made)
    assert [json.loads(call.arguments)["days"] for call in made] == [2, 2]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"} for call in made]
    second = client.responses.create(input=[
        {"role": "user", "content": mark}, *(item.to_dict() for item in first.output), *results], tools=tools, **asked)
    assert second.status == "completed" and second.output_text


@each
def test_structured_output_from_a_picture(client, mark, name):
    content = [
        {"type": "text", "text": mark}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}]
    answer = client.chat.completions.create(
        model=model(name, "sim-t1-i0"), messages=[{"role": "user", "content": content}],
        response_format={"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA}})
    assert json.loads(answer.choices[0].message.content)["days"] == 2
    assert f'{PICTURE}"' in json.dumps(journal.ended(mark)["body"])


@each
def test_a_break_in_mid_stream_is_an_error_in_the_stream(client, mark, name):
    texts = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(
                model=model(name, f"sim-t1-i5-x3-{mark}"), messages=user(mark), stream=True):
            texts.append(chunk.choices[0].delta.content or "")
    assert not isinstance(caught.value, openai.APIConnectionError), "the connection must end properly"
    assert "".join(texts) != ""


@pytest.mark.parametrize("target", ["simulated-gemini/sim-embed", "simulated-bedrock/cohere.embed-v4:0"])
def test_embeddings(client, mark, target):
    answer = client.embeddings.create(model=target, input=[mark, "two"], dimensions=256)
    assert [len(item.embedding) for item in answer.data] == [256, 256]
