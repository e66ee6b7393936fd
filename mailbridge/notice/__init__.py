"""Mail back: notices to senders, DSNs, received faxes to people and folders, and notices to administrators.

`planner` decides who gets what, in the transaction of the change. `compose` and `dsn` write the mails; `dispatcher` sends what is
due through the relay, and `folder` stores documents. Each notice is a delivery of its own, with the delivery's id as its
Message-ID.
"""
