"""The headers that every data-plane answer carries. Only the gateway sends them."""

import re
from decimal import Decimal

import pytest

import tenants
from environment import FAST, MODEL, client as client_for, user

pytestmark = pytest.mark.gateway

ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
WHOLE = r"\d+"
# As OpenAI writes a wait: 6ms, 1.5s, 1m26.4s, 7h12m0s.
WAIT = r"(?=.)(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+(\.\d+)?ms)?"
SHAPES = {
    "x-request-id": ULID,
    "x-tollgate-cache": "hit|miss|coalesced|bypass|refresh",
    "x-tollgate-provider": "simulated",
    "x-tollgate-model": r"(simulated/)?sim-small[a-z0-9-]*",
    "x-tollgate-attempts": "1",
    "x-tollgate-route": ".+",
    "x-tollgate-overhead-ms": r"\d+(\.\d+)?",
    "server-timing": r"[\w-]+(;[^,]*dur=[\d.]+[^,]*)(, *[\w-]+(;[^,]*)?)*",
    "x-ratelimit-limit-requests": WHOLE,
    "x-ratelimit-remaining-requests": WHOLE,
    "x-ratelimit-reset-requests": WAIT,
}
TOKEN_SHAPES = {
    "x-ratelimit-limit-tokens": WHOLE,
    "x-ratelimit-remaining-tokens": WHOLE,
    "x-ratelimit-reset-tokens": WAIT,
}
MONEY = r"\d+(\.\d+)?"


def assert_headers(headers, shapes):
    wrong = {name: headers.get(name) for name, shape in shapes.items()
             if not re.fullmatch(shape, headers.get(name, ""))}
    assert not wrong


def test_whole_answer(client, mark):
    raw = client.chat.completions.with_raw_response.create(model=FAST, messages=user(mark))
    assert_headers(raw.headers, {**SHAPES, "x-tollgate-cost-usd": MONEY})
    assert raw.headers["x-tollgate-cache"] in ("miss", "bypass")
    # All three, where the tenant has a limit on tokens.
    tokens = {name: shape for name, shape in TOKEN_SHAPES.items() if name in raw.headers}
    assert not tokens or tokens == TOKEN_SHAPES
    assert_headers(raw.headers, tokens)
    assert raw.parse().choices[0].message.content
    # These are the provider's own.
    assert "set-cookie" not in raw.headers


def test_stream(client, mark):
    with client.chat.completions.with_streaming_response.create(
            model=MODEL, messages=user(mark), stream=True) as raw:
        assert_headers(raw.headers, SHAPES)
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert "set-cookie" not in raw.headers
        for _ in raw.iter_lines():
            pass


def test_request_ids_differ(client, mark):
    ids = {client.chat.completions.create(model=MODEL, messages=user(f"{mark} {number}"))._request_id
           for number in range(3)}
    assert len(ids) == 3


def test_skipping_the_cache_is_shown(client, mark):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user(mark), extra_headers={"x-tollgate-cache": "skip"})
    assert raw.headers["x-tollgate-cache"] == "bypass"


def test_the_clients_own_id_comes_back(client, mark):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user(mark), extra_headers={"X-Client-Request-Id": mark})
    assert raw.headers["x-client-request-id"] == mark
    assert re.fullmatch(ULID, raw.headers["x-request-id"])


def test_an_id_sent_as_x_request_id_is_kept_aside(client, mark):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user(mark), extra_headers={"X-Request-Id": mark})
    assert raw.headers["x-client-request-id"] == mark
    assert re.fullmatch(ULID, raw.headers["x-request-id"])


def test_cost_is_exact(mark):
    with tenants.tenant() as own, client_for(own.key()["key"]) as client:
        raw = client.chat.completions.with_raw_response.create(model="fast", messages=user(mark))
        usage = raw.parse().usage
        expected = (usage.prompt_tokens * Decimal("0.50") + usage.completion_tokens * Decimal("1.50")) / 1_000_000
        assert Decimal(raw.headers["x-tollgate-cost-usd"]) == expected


def test_request_limit_counts_down(mark):
    limits = [{"id": "rpm", "scope": "tenant", "requests": 50, "window_s": 60}]
    with tenants.tenant(limits=limits) as own, client_for(own.key()["key"]) as client:
        for left in ("49", "48"):
            raw = client.chat.completions.with_raw_response.create(model="fast", messages=user(f"{mark} {left}"))
            assert raw.headers["x-ratelimit-limit-requests"] == "50"
            assert raw.headers["x-ratelimit-remaining-requests"] == left


def test_a_repeated_request_is_answered_from_the_cache(mark):
    with tenants.tenant(cache={"enabled": True, "ttl_s": 300}) as own, client_for(own.key()["key"]) as client:
        def ask():
            return client.chat.completions.with_raw_response.create(
                model="fast", messages=user(mark), temperature=0)

        first = ask()
        assert first.headers["x-tollgate-cache"] == "miss"
        # The answer is stored after it was sent, so the very next request may still miss it.
        for _ in range(10):
            second = ask()
            if second.headers["x-tollgate-cache"] == "hit":
                break
        assert second.headers["x-tollgate-cache"] == "hit"
        assert second.parse().choices[0].message.content == first.parse().choices[0].message.content
        assert_headers(second.headers, {name: SHAPES[name] for name in ("x-request-id", "x-tollgate-overhead-ms")})
        assert second.headers["x-request-id"] != first.headers["x-request-id"]
