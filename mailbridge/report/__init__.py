"""REPORT IN: what MyFax reports by mail and by its lists becomes changes of faxes and events.

Two sources report: the mailboxes (`watcher`, whose mails pass the `pipeline`) and the lists of `incoming.do` (`listing`).
"""
