"""What the simulated provider was asked, and when it sent what."""

import json
import time
import urllib.parse
import urllib.request

from environment import value


def requests_with(text: str) -> list[dict]:
    query = urllib.parse.urlencode({"contains": text})
    with urllib.request.urlopen(f"{value('SIMULATOR_URL')}/journal?{query}", timeout=10) as response:
        return json.load(response)["requests"]


def ended(text: str, within_s: float = 5) -> dict:
    """The only request with this text, once it has ended."""
    until = time.monotonic() + within_s
    while True:
        found = requests_with(text)
        assert len(found) <= 1, f"{len(found)} requests reached the provider, not one"
        if found and found[0]["ended_at_ms"] is not None:
            return found[0]
        assert time.monotonic() < until, f"the request did not end at the provider: {found}"
        time.sleep(0.02)
