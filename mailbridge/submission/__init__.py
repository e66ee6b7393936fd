"""Mail in: from an SMTP client, or `mailbridge send`, to queued faxes in the store.

The way of a mail: `session` conducts the dialogue, `admission` checks sender and recipients, `data_reader` streams the content
into a spool file, `acceptance` has a worker read it (`letter_reader`, `worker`, `letter/parser`) and stores it with its faxes.
"""
