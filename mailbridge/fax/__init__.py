"""Fax out: upload queued faxes to MyFax, and poll their status until each is final.

`uploader` explains why a fax is never sent twice; `outcome` decides what each answer, error and expiry does to a fax.
"""
