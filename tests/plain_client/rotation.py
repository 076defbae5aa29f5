"""One rotation from the first key to a revocation, as a plain NATS client sees it: none of Keywheel's own code runs here.

Run by tests/plain_client/run.sh, which installs the client libraries. KEYWHEEL_BIN names the binary.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import sys
import tempfile
import uuid

from nats.js.errors import NoStreamResponseError

import xkey
from client import CLIENT, TENANT, Client, Edge
from stack import Stack, wait_until

SCOPES = ["orders:read"]


def step(text: str) -> None:
    print(f"  {text}", flush=True)


async def story(client: Client, edges: list[Edge]) -> list[str]:
    """The whole story in order; returns every key text that it saw."""
    first, first_id, issued = await issue_first(client, edges)
    second = await rotate(client, edges, first)
    third = await nothing_blocks(client, first_id, issued)
    assert_accepted(edges, third, version=3)
    await revoke_first(client, edges, first, second)
    assert not client.errors, f"the connection saw errors: {client.errors}"
    return [first, second, third]


async def issue_first(client: Client, edges: list[Edge]) -> tuple[str, str, bytes]:
    step("issue: the first key works on every edge the moment it is delivered")
    outcome, raw = await client.command("issue", recipient=client.recipient, scopes=SCOPES)
    assert_new_key(outcome, version=1)
    key = await client.fetch_key(1, outcome["kid"])
    assert_accepted(edges, key, version=1)
    return key, outcome["command_id"], raw


async def rotate(client: Client, edges: list[Edge], first: str) -> str:
    step("rotate: both versions are accepted in the overlap")
    outcome, _ = await client.command("rotate", recipient=client.recipient)
    assert_new_key(outcome, version=2)
    assert outcome["rotation_id"], f"a rotation has an id: {outcome}"
    second = await client.fetch_key(2, outcome["kid"])
    assert_accepted(edges, second, version=2)
    assert_accepted(edges, first, version=1)
    return second


async def nothing_blocks(client: Client, first_id: str, issued: bytes) -> str:
    """A repeated command, then broken ones, then a good one; the last proves that all before it were handled."""
    step("the same command again, then broken ones: nothing happens twice, nothing is blocked")
    again = {"id": first_id, "actor": "plain-client", "recipient": client.recipient, "scopes": SCOPES}
    await client.publish("issue", json.dumps(again).encode())
    await assert_malformed(client, "scopes", {"scopes": "nope"})
    await assert_malformed(client, "colour", {"recipient": client.recipient, "colour": "red"})
    await client.publish("issue", b"this is no JSON")
    await assert_not_acknowledged(client, "explode")

    outcome, _ = await client.command("issue", recipient=client.recipient, scopes=SCOPES)
    # Were the repeated command a second key, this would be version 4.
    assert_new_key(outcome, version=3)
    _, repeated = await client.outcome(first_id)
    assert repeated == issued, f"the repeated command's outcome differs:\n  {issued!r}\n  {repeated!r}"
    return await client.fetch_key(3, outcome["kid"])


async def revoke_first(client: Client, edges: list[Edge], first: str, second: str) -> None:
    step("revoke: version 1 is refused on every edge, version 2 is not")
    outcome, _ = await client.command("revoke", version=1, reason="leaked in a test")
    assert outcome["outcome"] == "accepted", f"the revocation was not accepted: {outcome}"
    assert outcome["event"]["type"] == "KeyRetired", f"a revocation is a KeyRetired: {outcome}"
    for edge in edges:
        wait_until(f"{edge.name} refuses the revoked key", 15, lambda edge=edge: edge.check(first)[0] == 401)
        _, headers, _ = edge.check(first)
        assert headers["X-Keywheel-Error"] == "revoked", f"{edge.name}: {dict(headers)}"
        assert 'error="invalid_token"' in headers["WWW-Authenticate"], f"{edge.name}: {dict(headers)}"
        answer = edge.verify(first)
        assert answer["valid"] is False and answer["code"] == "revoked", f"{edge.name}: {answer}"
    assert_accepted(edges, second, version=2)


def assert_new_key(outcome: dict, version: int) -> None:
    assert outcome["outcome"] == "accepted", f"expected version {version}: {outcome}"
    assert outcome["rejection"] is None, f"accepted and rejected at once: {outcome}"
    assert outcome["version"] == version and outcome["kid"], f"expected version {version}: {outcome}"
    event = outcome["event"]
    assert event["type"] == "KeyIssued" and event["id"] and event["seq"] > 0, f"not a KeyIssued: {outcome}"


def assert_accepted(edges: list[Edge], key: str, version: int) -> None:
    """At once and on every edge: a delivered key is never refused, so there is nothing to wait for."""
    for edge in edges:
        answer = edge.verify(key)
        shown = {name: answer.get(name) for name in ("valid", "tenant", "client", "version", "kid", "scopes")}
        wanted = {
            "valid": True, "tenant": TENANT, "client": CLIENT, "version": version, "kid": xkey.kid_of(key), "scopes": SCOPES,
        }
        assert shown == wanted, f"{edge.name}: /v1/verify of version {version}: {answer}"
        status, headers, body = edge.check(key)
        assert (status, body) == (200, b""), f"{edge.name}: /v1/check of version {version}: {status} {body!r}"
        assert headers["Cache-Control"] == "no-store", f"{edge.name}: {dict(headers)}"
        for name, value in (("Tenant", TENANT), ("Client", CLIENT), ("Kid", wanted["kid"]), ("Key-Version", str(version))):
            assert headers[f"X-Keywheel-{name}"] == value, f"{edge.name}: X-Keywheel-{name} in {dict(headers)}"
        for name in ("Key-State", "Scopes"):
            assert headers[f"X-Keywheel-{name}"], f"{edge.name}: X-Keywheel-{name} is missing in {dict(headers)}"


async def assert_malformed(client: Client, field: str, fields: dict) -> None:
    body = {"id": str(uuid.uuid4()), "actor": "x", **fields}
    await client.publish("issue", json.dumps(body).encode())
    outcome, _ = await client.outcome(body["id"])
    assert outcome["outcome"] == "rejected", f"a broken command was not rejected: {outcome}"
    rejection = outcome["rejection"]
    assert rejection["code"] == "malformed", f"a broken command is `malformed`: {outcome}"
    assert field in rejection["detail"], f"the detail does not name the field {field}: {outcome}"


async def assert_not_acknowledged(client: Client, verb: str) -> None:
    try:
        await client.publish(verb, json.dumps({"id": str(uuid.uuid4()), "actor": "x"}).encode())
    except NoStreamResponseError:
        return
    raise AssertionError(f"the unknown verb {verb} was acknowledged")


def assert_no_key_in(folder: pathlib.Path, keys: list[str]) -> None:
    """Neither the bus's store nor a database, a credential or a log holds a key's text or secret."""
    secrets = [key.split("_")[-1][:43].encode() for key in keys]
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            for version, secret in enumerate(secrets, start=1):
                assert secret not in content, f"the secret of version {version} stands in {path}"


async def run_story(stack: Stack) -> list[str]:
    context = stack.context()
    seed = stack.home / context["credentials"]
    assert seed.stat().st_mode & 0o077 == 0, f"others may read {seed}: {oct(seed.stat().st_mode)}"
    edges = [Edge(entry) for entry in context["edges"]]
    assert len(edges) == 2, f"asked for two edges: {context}"
    client = await Client.connect(context, str(stack.home))
    try:
        return await story(client, edges)
    finally:
        await client.connection.close()


def main() -> int:
    xkey.self_test()
    binary = pathlib.Path(os.environ.get("KEYWHEEL_BIN", "target/debug/keywheel")).resolve()
    if not binary.is_file():
        print(f"rotation: there is no {binary}; build it with `cargo build` or name another one in KEYWHEEL_BIN")
        return 1
    with tempfile.TemporaryDirectory(prefix="keywheel-py-") as folder:
        stack = Stack(binary, pathlib.Path(folder))
        try:
            keys = asyncio.run(run_story(stack))
            step("stop: Ctrl-C leaves no child and no key text behind")
            stack.stop()
            assert_no_key_in(pathlib.Path(folder), keys)
        except BaseException:
            print(f"--- the end of what `keywheel up` printed\n{stack.log_tail()}\n---", flush=True)
            raise
        finally:
            stack.kill()
    print("plain client: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
