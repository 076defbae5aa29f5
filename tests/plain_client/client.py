"""What a program of somebody else's does with Keywheel: commands and deliveries over NATS, checks over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
import urllib.error
import urllib.request
import uuid

import nats
from nacl.public import PrivateKey
from nats.js.errors import NotFoundError

import xkey

TENANT, CLIENT = "acme", "py"
ANSWER_TIMEOUT_S = 30
OUTCOMES = ("accepted", "unchanged", "rejected")


class Client:
    """An operator with a plain NATS connection and a curve key pair of its own."""

    def __init__(self, connection, errors: list):
        self.connection = connection
        self.jetstream = connection.jetstream(timeout=5)
        self.errors = errors
        self.secret = PrivateKey.generate()
        self.recipient = xkey.encode_public(self.secret.public_key)

    @classmethod
    async def connect(cls, context: dict, home: str) -> Client:
        """Connects with the nkey seed file and the inbox prefix that the context names."""
        errors: list = []

        async def remember(error):
            errors.append(error)

        connection = await nats.connect(
            servers=[context["nats_url"]],
            nkeys_seed=os.path.join(home, context["credentials"]),
            inbox_prefix=context["inbox_prefix"],
            error_cb=remember,
            allow_reconnect=False,
            connect_timeout=5,
        )
        return cls(connection, errors)

    async def command(self, verb: str, **fields) -> tuple[dict, bytes]:
        """Publishes a command under a new id and waits for its outcome: (outcome, its very bytes)."""
        body = {"id": str(uuid.uuid4()), "actor": "plain-client", **fields}
        await self.publish(verb, json.dumps(body).encode())
        return await self.outcome(body["id"])

    async def publish(self, verb: str, payload: bytes) -> None:
        """Publishes a command; the acknowledgement says that it is durable."""
        acknowledgement = await self.jetstream.publish(f"kw.cmd.{TENANT}.{CLIENT}.{verb}", payload)
        assert acknowledgement.stream == "KW_COMMANDS", f"acknowledged by {acknowledgement.stream}, not KW_COMMANDS"

    async def outcome(self, command_id: str) -> tuple[dict, bytes]:
        """The last message of `kw.res.<id>`, once it is an outcome and no interim note."""

        def is_outcome(payload: bytes) -> bool:
            return json.loads(payload).get("outcome") in OUTCOMES

        payload = await self._last("KW_RESULTS", f"kw.res.{command_id}", is_outcome)
        outcome = json.loads(payload)
        assert outcome["command_id"] == command_id, f"the outcome names another command: {outcome}"
        return outcome, payload

    async def fetch_key(self, version: int, kid: str) -> str:
        """Waits for a delivery, opens it and checks the key's text by itself."""
        payload = await self._last("KW_DELIVERY", f"kw.dlv.{TENANT}.{CLIENT}.{version}", lambda _: True)
        delivery = json.loads(payload)
        assert (delivery["kid"], delivery["version"]) == (kid, version), f"not the key that was issued: {delivery}"
        key = xkey.open_sealed(base64.b64decode(delivery["sealed"]), self.secret, delivery["sender"]).decode()
        assert xkey.kid_of(key) == kid, f"the delivered key's text has another kid than {kid}"
        return key

    async def _last(self, stream: str, subject: str, wanted) -> bytes:
        end = time.monotonic() + ANSWER_TIMEOUT_S
        seen = b"nothing"
        while time.monotonic() < end:
            try:
                seen = (await self.jetstream.get_last_msg(stream, subject, direct=True)).data
                if wanted(seen):
                    return seen
            except NotFoundError:
                pass
            await asyncio.sleep(0.05)
        raise AssertionError(f"{subject} in {stream} after {ANSWER_TIMEOUT_S} s: {seen!r}; errors: {self.errors}")


class Edge:
    """One edge's HTTP address."""

    def __init__(self, entry: dict):
        address = entry["http"]
        self.name = entry["id"]
        self.base = (address if "://" in address else f"http://{address}").rstrip("/")

    def verify(self, key: str) -> dict:
        """`POST /v1/verify`: its JSON answer."""
        status, _, body = self._ask("POST", "/v1/verify", {"Content-Type": "application/json"}, {"key": key})
        assert status == 200, f"{self.name}: /v1/verify answers {status}: {body!r}"
        return json.loads(body)

    def check(self, key: str) -> tuple[int, dict, bytes]:
        """`GET /v1/check` with a bearer key: (status, headers, body)."""
        return self._ask("GET", "/v1/check", {"Authorization": f"Bearer {key}"}, None)

    def _ask(self, method: str, path: str, headers: dict, body) -> tuple[int, dict, bytes]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=5) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.headers, refusal.read()
