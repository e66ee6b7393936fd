"""mailbridge: an email gateway for the Israeli fax service MyFax."""

__version__ = "0.2.0"
