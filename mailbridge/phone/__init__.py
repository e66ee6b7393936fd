"""Telephone numbers: what a person writes becomes one canonical form, E.164, or an error that says what is wrong with it."""
