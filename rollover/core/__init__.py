"""Decides. No socket, file, clock, log or randomness in here."""
