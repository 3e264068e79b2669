import json

import journal
from environment import MODEL, user

TOOLS = [{
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of the next days",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}]


def test_call_result_and_answer(client, mark):
    messages = user(mark)
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert first.choices[0].finish_reason == "tool_calls"
    call = first.choices[0].message.tool_calls[0]
    assert call.type == "function" and call.function.name == "weather"
    assert json.loads(call.function.arguments)["days"] == 2

    result = {"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 12}'}
    second = client.chat.completions.create(
        model=MODEL, messages=[*messages, first.choices[0].message, result], tools=TOOLS)
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content

    asked, answered = (entry["body"] for entry in journal.requests_with(mark))
    assert asked["tools"] == answered["tools"] == TOOLS
    assert answered["messages"][1]["tool_calls"][0]["id"] == call.id
    assert answered["messages"][2] == result


def test_streamed_arguments_reassemble(client, mark):
    calls, pieces = {}, 0
    for chunk in client.chat.completions.create(
            model="simulated/sim-p2", messages=user(mark), tools=TOOLS, stream=True):
        for piece in chunk.choices[0].delta.tool_calls or []:
            call = calls.setdefault(piece.index, {"id": piece.id, "name": piece.function.name, "text": ""})
            call["text"] += piece.function.arguments
            pieces += bool(piece.function.arguments)
        finish = chunk.choices[0].finish_reason
    assert finish == "tool_calls"
    assert sorted(calls) == [0, 1] and pieces > 4
    assert calls[0]["id"] != calls[1]["id"]
    for call in calls.values():
        assert call["name"] == "weather"
        assert json.loads(call["text"])["days"] == 2


def test_the_streaming_helper_collects_tools(client, mark):
    # The helper parses arguments only when the schema is strict.
    strict = [{**TOOLS[0], "function": {**TOOLS[0]["function"], "strict": True}}]
    with client.chat.completions.stream(model=MODEL, messages=user(mark), tools=strict) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.parsed_arguments["days"] == 2
