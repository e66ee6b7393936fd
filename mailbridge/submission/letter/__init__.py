"""A letter: what a mail asks to be faxed. Its structure, text and documents, read from hostile bytes.

All of it runs in a worker process (submission/worker.py), which can do no harm.
"""
