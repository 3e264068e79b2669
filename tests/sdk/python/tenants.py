"""Tenants of a test's own, made and deleted through the admin API."""

import contextlib
import json
import urllib.error
import urllib.request
import uuid

from environment import value

CONFIG = {
    "models": {"fast": {"target": "simulated/sim-small"}},
    "prices": {"simulated/*": {"input_usd_per_mtok": "0.50", "output_usd_per_mtok": "1.50"}},
}


def admin(method: str, path: str, body: dict | None = None) -> dict:
    request = urllib.request.Request(
        f"{value('TOLLGATE_BASE_URL')}/admin/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {value('TOLLGATE_ADMIN_TOKEN')}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {path} answered {error.code}: {error.read().decode()}") from None
    return json.loads(text) if text else {}


class Tenant:
    def __init__(self, config: dict):
        self.id = f"sdk-{uuid.uuid4().hex[:12]}"
        admin("PUT", f"/tenants/{self.id}", {"config": {**CONFIG, **config}})

    def key(self, **fields) -> dict:
        """A new key: its `id` and its `key`."""
        return admin("POST", f"/tenants/{self.id}/keys", {"name": "sdk", **fields})

    def delete_key(self, key_id: str) -> None:
        admin("DELETE", f"/tenants/{self.id}/keys/{key_id}")


@contextlib.contextmanager
def tenant(**config):
    own = Tenant(config)
    try:
        yield own
    finally:
        admin("DELETE", f"/tenants/{own.id}")
