"""Log lines about one client are bounded; what was left out is counted."""

from __future__ import annotations

from typing import Any

from mailbridge.submission.log_lines import LogLines


def test_a_client_causes_a_hundred_lines_and_then_one_each_second() -> None:
    lines: list[dict[str, Any]] = []

    def event(id: str, /, **facts: Any) -> None:
        lines.append({"id": id, **facts})

    writer = LogLines()
    for _ in range(150):
        writer.write(event, "192.0.2.1", 0.0, reply="550")
    writer.write(event, "192.0.2.2", 0.0)
    assert len(lines) == 101
    assert lines[0] == {"id": "smtp", "client": "192.0.2.1", "reply": "550"}
    writer.write(event, "192.0.2.1", 1.0, id="env_1")
    writer.write(event, "192.0.2.1", 1.5)
    writer.write(event, "192.0.2.1", 2.0)
    assert [line.get("left_out") for line in lines[101:]] == [50, 1]


def test_clients_are_remembered_up_to_a_bound() -> None:
    writer = LogLines()
    for number in range(10_001):
        writer.write(lambda *_, **__: None, f"client {number}", 0.0)
    assert len(writer._clients) == 10_000
