"""Faults 47 to 63, of the live file and the mail server, and the tool without its reaction."""

from __future__ import annotations
