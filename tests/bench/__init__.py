"""Benchmarks: each module but `mails`, `line` and `process` is a program that prints one JSON line, and no test collects them.

    python -m tests.bench.intake            mails a second and memory, beside a stock aiosmtpd that writes and syncs each mail
    python -m tests.bench.upload_latency    from the 250 to the upload's arrival at MyFax
    python -m tests.bench.report_latency    from the mailbox's EXISTS to the webhook's arrival

`--help` tells how to scale each down. Ratios come from one run on one machine; a single absolute figure says little.
"""
