"""The daemon's control socket: what the command line and the console may ask of it, and do with faxes and deliveries.

`server` listens, `client` calls it. `commands` names everything that can be called: `queries` only read, `fax_actions` and
`delivery_actions` change the store. Without a daemon, a command calls the same functions on the store itself.
"""
