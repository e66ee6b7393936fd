"""Benchmarks: programs that each print one JSON line, and what they share. No test collects them.

    python -m tests.bench.intake            mails a second and memory, beside a stock aiosmtpd that writes and syncs each mail
    python -m tests.bench.upload_latency    from the 250 to the upload's arrival at MyFax
    python -m tests.bench.report_latency    from the mailbox's EXISTS to the webhook's arrival

What they share: `mails` and `line` (a lean SMTP client), `servers` and `process` (what is measured), `daemon` and `peer` (the
real daemon and those it calls).

`--help` tells how to scale each down. Ratios come from one run on one machine; a single absolute figure says little.
"""
