"""The MyFax simulator, a mailbox and a webhook receiver, each usable alone, and the demo that runs the daemon between them."""
