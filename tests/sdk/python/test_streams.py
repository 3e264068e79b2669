import asyncio
import time

import openai
import pytest

import environment
import journal
from environment import MODEL, user

SKIP_CACHE = {"x-tollgate-cache": "skip"}


def content(chunk):
    return chunk.choices[0].delta.content if chunk.choices else None


def test_each_chunk_is_here_before_the_next_is_sent(client, mark):
    came = []
    for chunk in client.chat.completions.create(model="simulated/sim-t50-i300-n5", messages=user(mark), stream=True):
        if content(chunk):
            came.append(time.time() * 1000)
    sent = journal.ended(mark)["chunks_sent"]
    assert len(came) == len(sent) == 5
    for number in range(4):
        assert came[number] < sent[number + 1], f"token {number + 1} was held back: {came} {sent}"


def test_a_stream_has_the_text_of_the_whole_answer(client, mark):
    whole = client.chat.completions.create(model=MODEL, messages=user(mark), extra_headers=SKIP_CACHE)
    chunks = list(client.chat.completions.create(
        model=MODEL, messages=user(mark), stream=True, extra_headers=SKIP_CACHE))
    assert "".join(content(chunk) or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1


def test_no_usage_unless_asked_for(client, mark):
    for options in ({}, {"stream_options": {"include_usage": False}}):
        chunks = list(client.chat.completions.create(
            model=MODEL, messages=user(f"{mark} {options}"), stream=True, **options))
        assert all(len(chunk.choices) == 1 for chunk in chunks)
        assert all(chunk.usage is None for chunk in chunks)


def test_usage_in_the_last_chunk_when_asked_for(client, mark):
    chunks = list(client.chat.completions.create(
        model=MODEL, messages=user(mark), stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 32
    assert environment.DIRECT or float(chunks[-1].usage.model_extra["cost_usd"]) > 0
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + 32
    for chunk in chunks[:-1]:
        assert len(chunk.choices) == 1 and chunk.usage is None
        assert "usage" in chunk.model_fields_set, "OpenAI sends usage: null in every other chunk"


def test_the_streaming_helper(client, mark):
    with client.chat.completions.stream(
            model=MODEL, messages=user(mark), stream_options={"include_usage": True}) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content
    assert final.usage.completion_tokens == 32


def test_closing_a_stream_ends_it_at_the_provider(client, mark):
    stream = client.chat.completions.create(model="simulated/sim-i100-n100", messages=user(mark), stream=True)
    for number, _ in enumerate(stream):
        if number == 3:
            break
    stream.close()
    closed = time.time() * 1000
    entry = journal.ended(mark)
    assert entry["ended"] == "client_gone"
    assert entry["ended_at_ms"] - closed < 1000
    assert len(entry["chunks_sent"]) < 30


def test_cancelling_a_task_ends_the_stream_at_the_provider(mark):
    async def cancel_after_the_first_chunks():
        async with environment.async_client() as client:
            started = asyncio.Event()

            async def consume():
                async for chunk in await client.chat.completions.create(
                        model="simulated/sim-i100-n100", messages=user(mark), stream=True):
                    if content(chunk):
                        started.set()

            task = asyncio.create_task(consume())
            await asyncio.wait_for(started.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.time() * 1000

    cancelled = asyncio.run(cancel_after_the_first_chunks())
    entry = journal.ended(mark)
    assert entry["ended"] == "client_gone"
    assert entry["ended_at_ms"] - cancelled < 1000


@pytest.mark.gateway
def test_a_break_in_mid_stream_is_an_error_in_the_stream(client, mark):
    texts = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(
                model=f"simulated/sim-x3-i20-{mark}", messages=user(mark), stream=True):
            texts.append(content(chunk) or "")
    assert not isinstance(caught.value, openai.APIConnectionError), "the connection must end properly"
    assert "".join(texts) != ""
    assert caught.value.code == "upstream_error"
