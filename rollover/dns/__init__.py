"""Talks to name servers."""
