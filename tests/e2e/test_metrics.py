"""/metrics of a daemon at work: promtool accepts it, and docs/monitoring.md, its rules and the dashboard use its names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.e2e.environment import Environment
from tests.e2e.test_commands import MAIL, fax_to, in_environment
from tests.wait_helpers import PATIENCE, until

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "monitoring.md").read_text(encoding="utf-8")
RULES = re.search(r"<!-- rules -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
_NAME = re.compile(r"\b(?:mailbridge|process)_[a-z_]+\b")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and not os.environ.get("CI"), reason="needs promtool of Debian's package prometheus"
)


def promtool(*arguments: str, given: str = "") -> str:
    """Run promtool; return what it finds fault with."""
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def scraped(tmp_path: Path) -> str:
    """Return /metrics of a daemon that has delivered a fax, failed one, refused a mail, and lost an answer."""
    found: list[str] = []

    async def scenario(env: Environment) -> None:
        for number, state in (("03-9876543", "delivered"), ("03-9876501", "failed"), ("03-9876591", "in_doubt")):
            await env.becomes(await fax_to(env, number), state)
        assert (await env.send("dana@example.co.il", ["03-987654@fax.local"], MAIL.read_bytes())).startswith("550 5.1.3")

        async def all_delivered() -> bool:
            return not await env.printed("deliveries", "--state", "pending")

        await until(all_delivered)
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as client:
            found.append((await client.get("http://{}:{}/metrics".format(*env.http))).text)

    in_environment(tmp_path, scenario, reports=False, more='\n[fax]\nfirst_poll = "50ms"\nslowest_poll = "200ms"\n')
    return found[0]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return scraped(tmp_path_factory.mktemp("metrics"))


def families(text: str) -> set[str]:
    """Return the names of the metrics, without the suffixes of a histogram."""
    return {
        line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ") and not line.split()[2].endswith("_created")
    }


@needs_promtool
def test_promtool_accepts_the_metrics(text: str) -> None:
    assert promtool("check", "metrics", given=text) == ""


def test_held_metrics_name_no_number_address_or_subject(text: str) -> None:
    for private in ("98765", "@", "dana", "fax_", "MB-", "contract"):
        assert private not in text.replace("mailbridge_fax_", "").replace("mailbridge_faxes", "")


def test_what_happened_is_counted(text: str) -> None:
    for line in (
        'mailbridge_mails_total{result="accepted"} 3.0',
        'mailbridge_refusals_total{code="550",enhanced_code="5.1.3"} 1.0',
        'mailbridge_faxes_queued_total{account="office"} 3.0',
        'mailbridge_faxes_finished_total{account="office",error="",outcome="delivered"} 1.0',
        'mailbridge_faxes_finished_total{account="office",error="busy",outcome="failed"} 1.0',
        'mailbridge_faxes_in_doubt_total{account="office"} 1.0',
        'mailbridge_pages_delivered_total{account="office"} 1.0',
        'mailbridge_uploads_total{account="office",outcome="accept"} 2.0',
        'mailbridge_uploads_total{account="office",outcome="lose"} 1.0',
        'mailbridge_log_lines_total{event="fax in doubt",level="error"} 1.0',
        "mailbridge_intake_seconds_count 3.0",
        'mailbridge_upload_seconds_count{account="office"} 3.0',
        'mailbridge_fax_final_seconds_count{outcome="delivered"} 1.0',
        'mailbridge_faxes{state="in_doubt"} 1.0',
        'mailbridge_oldest_queued_seconds{account="office"} 0.0',
        'mailbridge_ready{name="office",part="mailbox"} 1.0',
        'mailbridge_ready{name="",part="store"} 1.0',
    ):
        assert line in text.splitlines(), line
    assert re.search(r'^mailbridge_delivery_attempts_total\{endpoint="crm",outcome="delivered"\} [89]\.0$', text, re.MULTILINE)
    for name in ("mailbridge_credit_left", "mailbridge_mailbox_last_contact_timestamp_seconds", "mailbridge_database_bytes"):
        assert re.search(rf"^{name}(\{{.*\}})? [1-9]", text, re.MULTILINE), name


def test_the_page_lists_every_metric_and_no_other(text: str) -> None:
    table = PAGE.partition("## Metrics")[2]
    listed = {name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in _NAME.findall(row)}
    assert listed == families(text) | {"mailbridge_notices_total", "mailbridge_received_total", "mailbridge_nodes"}


@needs_promtool
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    assert RULES is not None
    (tmp_path / "rules.yml").write_text(RULES[1], encoding="utf-8")
    assert promtool("check", "rules", str(tmp_path / "rules.yml")) == ""


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    assert RULES is not None
    board = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    listed = set(_NAME.findall(PAGE.partition("## Metrics")[2]))
    used = {name.removesuffix("_bucket") for source in (*expressions, RULES[1]) for name in _NAME.findall(source)}
    assert used <= listed, used - listed
    assert len({panel["title"] for panel in board["panels"]}) == len(board["panels"])
