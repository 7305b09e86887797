"""Talks to mail servers."""
