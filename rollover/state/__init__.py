"""Remembers: keys and chains on disk, everything else in a database."""
