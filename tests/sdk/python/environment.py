"""Where the gateway and the simulated provider are, and clients for them."""

import os
import uuid

import anthropic
import openai

NEEDED = {
    "TOLLGATE_BASE_URL": "the gateway's address without /v1, for example http://127.0.0.1:8787",
    "TOLLGATE_KEY": "a key of the demo tenant, whose alias `fast` is a simulated model",
    "TOLLGATE_ADMIN_TOKEN": "the operator's token",
    "SIMULATOR_URL": "the simulated provider's address without /v1",
}


def missing() -> list[str]:
    return [f"{name} is not set: {what}" for name, what in NEEDED.items() if not os.environ.get(name)]


def value(name: str) -> str:
    return os.environ[name].rstrip("/")


#: The base address is the simulated provider itself: only what needs no gateway is tested.
DIRECT = os.environ.get("SDK_DIRECT") == "1"
#: A model by its provider and name: quick, and 32 tokens unless it is capped.
MODEL = "simulated/sim-small-t5-i2-n32"
#: The demo tenant's alias of a simulated model. The provider knows no aliases.
FAST = "sim-small" if DIRECT else "fast"


def client(key: str | None = None, **options) -> openai.OpenAI:
    """A client with the SDK's own defaults, but for a time limit that suits a test."""
    return openai.OpenAI(api_key=key or value("TOLLGATE_KEY"), base_url=value("TOLLGATE_BASE_URL") + "/v1",
                         **{"timeout": 20, **options})


def async_client(**options) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=value("TOLLGATE_KEY"), base_url=value("TOLLGATE_BASE_URL") + "/v1",
                              **{"timeout": 20, **options})


def anthropic_options(key: str | None, options: dict) -> dict:
    base = value("TOLLGATE_BASE_URL") + ("/anthropic" if DIRECT else "")
    return {"api_key": key or value("TOLLGATE_KEY"), "base_url": base, "timeout": 20, **options}


def anthropic_client(key: str | None = None, **options) -> anthropic.Anthropic:
    return anthropic.Anthropic(**anthropic_options(key, options))


def async_anthropic_client(key: str | None = None, **options) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(**anthropic_options(key, options))


def counting_client(key: str, **options) -> tuple[openai.OpenAI, list]:
    """A client and the list of the answers that it gets, which grows with every attempt the SDK makes."""
    answers: list = []
    http = openai.DefaultHttpx2Client(event_hooks={"response": [answers.append]})
    return client(key, http_client=http, **options), answers


#: One pixel.
PICTURE = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
SCHEMA = {
    "type": "object", "required": ["city", "days"], "additionalProperties": False,
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "enum": [2]}},
}
#: The simulated provider by the format that it is asked in, with the start of the path of a request there.
FORMATS = {
    "chat": ("simulated", "/v1/chat/completions"),
    "responses": ("simulated-responses", "/v1/responses"),
    "anthropic": ("simulated-anthropic", "/anthropic/v1/messages"),
    "gemini": ("simulated-gemini", "/gemini/v1beta/models/"),
    "bedrock": ("simulated-bedrock", "/bedrock/model/"),
}


def marker() -> str:
    """Makes a prompt one of a kind: no cache knows it, and the journal finds it."""
    return f"marker-{uuid.uuid4().hex}"


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": f"How far is the harbour? {text}"}]
