"""The runner of all end-to-end scenarios. Each folder beside this file is one scenario, as data:

    scenario.toml   what happens, step by step, and what MyFax does (see `Scenario`)
    *.eml           the mails that it names
    config.toml     further configuration keys, if any
    expected.json   the uploads that MyFax must have received, the webhooks (a subset of each), and the faxes at the end

In expected.json a text may contain `*` and `?` as in file names. Nothing beyond what it lists may arrive.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from mailbridge.demo.mailbox import report_mail
from tests.e2e.environment import Environment
from tests.wait_helpers import PATIENCE, until

HERE = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in HERE.glob("*/scenario.toml"))


class Scenario:
    """The steps of one folder.

    `[myfax]` has `reports`, `step` (seconds), `script` (number: outcome), and `down` until the step `myfax_up`.
    """

    def __init__(self, folder: Path, env: Environment, script: dict[str, Any]) -> None:
        self._folder, self._env, self._script = folder, env, script
        self._steps: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "send": self._send,
            "arrive": self._arrive,
            "report": self._report,
            "wait": self._wait,
            "kill": self._kill,
            "start": self._start,
            "myfax_up": self._myfax_up,
            "listed": self._listed,
        }

    async def run(self) -> None:
        """Do every step in order."""
        for step in self._script["step"]:
            await self._steps[step["do"]](step)

    async def _send(self, step: dict[str, Any]) -> None:
        """A mail client sends `mail` from `from` to `to`; the reply must match `reply`."""
        reply = await self._env.send(step["from"], step["to"], (self._folder / step["mail"]).read_bytes())
        assert fnmatchcase(reply, step["reply"]), reply

    async def _arrive(self, step: dict[str, Any]) -> None:
        """The `mail` arrives in the mailbox."""
        await self._env.mailbox.deliver((self._folder / step["mail"]).read_bytes())

    async def _report(self, step: dict[str, Any]) -> None:
        """MyFax mails a report of its fax to the number `of`."""
        subject = next(fax.subject for fax in self._env.simulator.uploads if fax.number == step["of"])
        await self._env.mailbox.deliver(report_mail(step["status"], step["code"], subject))

    async def _wait(self, step: dict[str, Any]) -> None:
        """Wait for the webhook `for`."""
        await self._env.receiver.wait(step["for"], PATIENCE)

    async def _kill(self, _: dict[str, Any]) -> None:
        await self._env.kill()

    async def _start(self, _: dict[str, Any]) -> None:
        await self._env.start()

    async def _myfax_up(self, _: dict[str, Any]) -> None:
        await self._env.start_myfax()

    async def _listed(self, step: dict[str, Any]) -> None:
        """A fax, or the `type` given, arrives at MyFax from `source` for `did`; it is in the list of `incoming.do`."""
        await self._env.list_incoming(step["source"], step["did"], step.get("type", "incoming"))


def fits(wanted: Any, found: Any) -> bool:
    """Whether `found` has everything in `wanted`."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and fits(value, found[key]) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(wanted) == len(found) and all(map(fits, wanted, found))
    if isinstance(wanted, str) and isinstance(found, str):
        return fnmatchcase(found, wanted)
    return bool(wanted == found)


def pair_off(wanted: list[Any], found: list[Any], noun: str) -> None:
    """Check that each of `wanted` matches one of `found`, and that no other is left."""
    left = list(found)
    for one in wanted:
        match = next((other for other in left if fits(one, other)), None)
        assert match is not None, f"no {noun} fits {json.dumps(one)} among {json.dumps(left, indent=1)}"
        left.remove(match)
    assert not left, f"more {noun} than expected: {json.dumps(left, indent=1)}"


async def settled(env: Environment, count: int) -> None:
    """Wait until `count` webhooks have arrived and every delivery is delivered."""

    async def delivered() -> bool:
        return all(delivery["state"] == "delivered" for delivery in await env.ask("deliveries"))

    await until(lambda: len(env.receiver.events) >= count, what=f"{len(env.receiver.events)} of {count} webhooks came")
    await until(delivered)


async def play(folder: Path, state: Path) -> None:
    script = tomllib.loads((folder / "scenario.toml").read_text(encoding="utf-8"))
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    extra = folder / "config.toml"
    more = extra.read_text(encoding="utf-8") if extra.exists() else ""
    myfax = script.get("myfax", {})
    async with Environment(state, more=more, reports=myfax.get("reports", True), step=myfax.get("step", 0.1), strict=True) as env:
        env.simulator.script.update(myfax.get("script", {}))
        if not myfax.get("down", False):
            await env.start_myfax()
        await env.start()
        await Scenario(folder, env, script).run()
        await settled(env, len(expected["webhooks"]))
        pair_off(expected["webhooks"], env.receiver.events, "webhook")
        took = [{"number": fax.number, "files": fax.files} for fax in env.simulator.uploads]
        pair_off(expected["uploads"], took, "upload")
        pair_off(expected["faxes"], await env.printed("queue"), "fax")
        assert env.receiver.forged == 0
        assert await env.stop() == 0
        said = env.log.read_text(encoding="utf-8")
        assert not any(name in said for name in ("unexpectedly", "store unavailable", "not stored", "unreadable")), said
        assert "Traceback" not in said, said
        assert '"demo"' not in said  # the password


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_ends_as_expected(name: str, tmp_path: Path) -> None:
    asyncio.run(play(HERE / name, tmp_path))


def test_scenarios_are_found() -> None:
    assert len(SCENARIOS) >= 10
