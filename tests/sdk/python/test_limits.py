"""Limits and budgets as the SDK meets them: which refusals it retries, and how long it waits."""

import time
from decimal import Decimal

import openai
import pytest

import journal
import tenants
from environment import MODEL, client as client_for, counting_client, user
from test_errors import assert_refused

pytestmark = pytest.mark.gateway


def two_requests(window_s):
    return [{"id": "two", "scope": "tenant", "requests": 2, "window_s": window_s}]


def test_rate_limit(mark):
    with tenants.tenant(limits=two_requests(60)) as own, client_for(own.key()["key"], max_retries=0) as client:
        for number in range(2):
            client.chat.completions.create(model="fast", messages=user(f"{mark} {number}"))
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="fast", messages=user(f"{mark} third"))
    assert_refused(caught, 429, "rate_limit_error", "rate_limit_exceeded")
    assert caught.value.body["limit"] is not None and caught.value.body["window"] is not None
    headers = caught.value.response.headers
    seconds, milliseconds = int(headers["retry-after"]), int(headers["retry-after-ms"])
    assert 0 < milliseconds <= 61_000  # the window, and the slot that it errs by
    assert 0 <= seconds * 1000 - milliseconds < 1000, "the seconds are the milliseconds rounded up"
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert journal.requests_with(f"{mark} third") == []


def test_the_sdk_waits_as_told_and_is_then_admitted(mark):
    with tenants.tenant(limits=two_requests(3)) as own:
        client, answers = counting_client(own.key()["key"])
        with client:
            for number in range(2):
                client.chat.completions.create(model="fast", messages=user(f"{mark} {number}"))
            del answers[:]
            begun = time.monotonic()
            raw = client.chat.completions.with_raw_response.create(model="fast", messages=user(f"{mark} third"))
            took = time.monotonic() - begun
        assert [answer.status_code for answer in answers] == [429, 200]
        assert raw.retries_taken == 1
        told = int(answers[0].headers["retry-after-ms"]) / 1000
        assert told <= took < told + 2


def test_a_spent_budget_is_not_retried(mark):
    budgets = [{"id": "tiny", "scope": "tenant", "limit_usd": "0.000001", "period": "total"}]
    with tenants.tenant(budgets=budgets) as own:
        client, answers = counting_client(own.key()["key"])
        with client, pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="fast", messages=user(mark), max_tokens=40)
    assert_refused(caught, 402, "insufficient_quota", "budget_exceeded")
    assert len(answers) == 1
    assert "retry-after" not in answers[0].headers and "retry-after-ms" not in answers[0].headers
    body = caught.value.body
    assert body["budget"] == "tiny"
    assert Decimal(body["limit_usd"]) == Decimal("0.000001")
    assert Decimal(body["spent_usd"]) == 0 and Decimal(body["held_usd"]) == 0
    assert "resets_at" in body
    assert journal.requests_with(mark) == []


def test_a_budget_is_never_overshot(mark):
    budgets = [{"id": "small", "scope": "tenant", "limit_usd": "0.0002", "period": "total"}]
    served = 0
    with tenants.tenant(budgets=budgets) as own, client_for(own.key()["key"]) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            for number in range(10):
                client.chat.completions.create(model="fast", messages=user(f"{mark} {number}"), max_tokens=40)
                served += 1
    assert_refused(caught, 402, "insufficient_quota", "budget_exceeded")
    assert served >= 1
    assert Decimal(caught.value.body["spent_usd"]) + Decimal(caught.value.body["held_usd"]) <= Decimal("0.0002")
    assert len(journal.requests_with(mark)) == served


def test_limits_of_one_tenant_leave_another_alone(client, mark):
    with tenants.tenant(limits=two_requests(60)) as own, client_for(own.key()["key"], max_retries=0) as limited:
        with pytest.raises(openai.RateLimitError):
            for number in range(3):
                limited.chat.completions.create(model="fast", messages=user(f"{mark} {number}"))
        assert client.chat.completions.create(model=MODEL, messages=user(f"{mark} other")).choices
