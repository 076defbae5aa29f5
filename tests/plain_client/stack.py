"""Starts `keywheel up` for one test and proves that nothing of it is left when it has stopped."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import time

START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 45


def wait_until(what: str, timeout_s: float, condition):
    """Asks `condition` until it answers something true, and returns that; fails after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.05)


class Stack:
    """A running `keywheel up --edges 2` on free ports, with its home below `folder`."""

    def __init__(self, binary: pathlib.Path, folder: pathlib.Path):
        self.home = folder / "home"
        self.log_path = folder / "up.log"
        self.family: dict = {}
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [str(binary), "up", "--edges", "2", "--home", str(self.home), "--port-base", "0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )

    def context(self) -> dict:
        """HOME/context.json, once it is there: the stack is then ready."""

        def ready():
            code = self.process.poll()
            assert code is None, f"`keywheel up` ended with {code} before it was ready"
            path = self.home / "context.json"
            return path.exists() and json.loads(path.read_text())

        return wait_until("HOME/context.json of `keywheel up`", START_TIMEOUT_S, ready)

    def stop(self) -> None:
        """Ctrl-C; then the exit code is 0 and no child is left."""
        self.family = _family(self.process.pid)
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"`keywheel up` was still running {STOP_TIMEOUT_S} s after SIGINT") from None
        assert code == 0, f"`keywheel up` ended with {code} after SIGINT, not with 0"
        left = wait_until_gone(self.family, self.process.pid)
        assert not left, f"left running after `keywheel up` had ended: {left}"

    def kill(self) -> None:
        """Ends whatever is still there, by the ids that this test started."""
        family = {**self.family, **_family(self.process.pid)}
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid, (name, born) in family.items():
            if _identity(pid) == (name, born):
                os.kill(pid, signal.SIGKILL)

    def log_tail(self) -> str:
        """The end of what `up` printed."""
        return self.log_path.read_text(errors="replace")[-6000:]


def wait_until_gone(family: dict, leader: int) -> list:
    """The names of those of `family`, and of the leader's session, that do not end within a short time."""
    end = time.monotonic() + 10
    while True:
        members = {**family, **_family(leader)}
        left = [f"{name} ({pid})" for pid, (name, born) in members.items() if _identity(pid) == (name, born)]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.05)


def _environment() -> dict:
    """Ours, with the tests' own nats-server first on PATH."""
    # What is meant for the tests would be refused by the services as an unknown setting.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYWHEEL_")}
    server = os.environ.get("KEYWHEEL_TEST_NATS")
    if server:
        environment["PATH"] = os.path.dirname(server) + os.pathsep + environment.get("PATH", "")
    return environment


def _family(leader: int) -> dict:
    """Live processes of the leader's session or descended from it, without the leader: pid → (name, start time)."""
    if not os.path.isdir("/proc/self"):
        return {}  # no /proc on this system: then the check sees nothing
    rows = {int(entry): _stat(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
    found, grown = {leader}, True
    while grown:
        more = {pid for pid, row in rows.items() if row and (row["parent"] in found or row["session"] == leader)}
        grown = not more <= found
        found |= more
    return {pid: _identity(pid) for pid in found - {leader} if _identity(pid)}


def _identity(pid: int):
    """(name, start time) of a live process; None for one that is gone or a zombie."""
    row = _stat(pid)
    return (row["name"], row["born"]) if row and row["state"] != "Z" else None


def _stat(pid: int):
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return {"name": name, "state": fields[0], "parent": int(fields[1]), "session": int(fields[3]), "born": fields[19]}
