import asyncio
import json

import pydantic
import pytest

import environment
import journal
from environment import FAST, MODEL, user


def test_chat(client, mark):
    answer = client.chat.completions.create(model=MODEL, messages=user(mark))
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 32
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 32
    assert journal.ended(mark)["ended"] == "done"


def test_an_alias(client, mark):
    answer = client.chat.completions.create(model=FAST, messages=user(mark))
    assert answer.usage.completion_tokens == len(answer.choices[0].message.content.split(" "))
    assert journal.ended(mark)["model"].startswith("sim-small")


def test_async_chat(mark):
    async def ask():
        async with environment.async_client() as client:
            return await asyncio.gather(*(
                client.chat.completions.create(model=MODEL, messages=user(f"{mark}-{number}")) for number in range(4)
            ))

    answers = asyncio.run(ask())
    assert len({answer.choices[0].message.content for answer in answers}) == 4


def test_the_token_cap_is_kept(client, mark):
    answer = client.chat.completions.create(model=MODEL, messages=user(mark), max_tokens=4)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 4


def test_several_choices(client, mark):
    answer = client.chat.completions.create(model=MODEL, messages=user(mark), n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_unknown_request_fields_reach_the_provider_unchanged(client, mark):
    nested = {"nested": [1, 2.5, True, None, "größer 東京 😀"], "empty": {}}
    unknown = {"x_vendor": nested, "x_number": -0.25, "x_list": []}
    known = {"seed": 7, "temperature": 0.5, "top_p": 0.9, "logit_bias": {"50256": -100}, "user": "someone"}
    client.chat.completions.create(model=MODEL, messages=user(mark), extra_body=unknown, **known)
    body = journal.ended(mark)["body"]
    for name, value in {**unknown, **known}.items():
        assert body[name] == value
    assert body["messages"] == user(mark)
    assert body["model"].endswith(MODEL.removeprefix("simulated/"))


def test_structured_output(client, mark):
    class Trip(pydantic.BaseModel):
        place: str
        days: int
        stops: list[str]

    answer = client.chat.completions.parse(model=MODEL, messages=user(mark), response_format=Trip)
    trip = answer.choices[0].message.parsed
    assert isinstance(trip, Trip) and trip.place and trip.stops
    assert journal.ended(mark)["body"]["response_format"]["json_schema"]["strict"] is True


def test_json_object(client, mark):
    answer = client.chat.completions.create(
        model=MODEL, messages=user(f"{mark} in JSON"), response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_embeddings(client, mark):
    # The SDK asks for base64 unless it is told otherwise.
    answer = client.embeddings.create(model="simulated/sim-embed", input=[mark, "two"], dimensions=16)
    assert [len(item.embedding) for item in answer.data] == [16, 16]
    plain = client.embeddings.create(model="simulated/sim-embed", input=mark, dimensions=16, encoding_format="float")
    assert plain.data[0].embedding == answer.data[0].embedding
    assert plain.usage.total_tokens > 0
