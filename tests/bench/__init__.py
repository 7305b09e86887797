"""Figures of the tool's own cost; printed, never asserted."""
