"""Benchmarks: programs that each print one JSON line. pytest does not collect them.

    python -m tests.bench.intake            mails per second and memory, compared with a stock aiosmtpd that syncs each mail
    python -m tests.bench.upload_latency    from the 250 to the upload's arrival at MyFax
    python -m tests.bench.report_latency    from the mailbox's EXISTS to the webhook's arrival
    python -m tests.bench.webhooks          events per second, and what a hanging endpoint adds to the latency of another
    python -m tests.bench.store             queries and start of a small and a large store
    python -m tests.bench.console           each page of the console with 100,000 faxes, and what 50 open pages cost the intake
    python -m tests.bench.soak              the whole daemon under load: nothing lost, nothing twice

They share `mails` and `smtp_client`, `servers` and `process` (servers in processes of their own), `daemon` (the real daemon) and
`http_peer` (its peers).

`--help` says how to scale each down. Compare figures only if they come from the same machine and run.
"""
