"""Mutation testing of rollover/core: whether the unit tests see a decision that is wrong (docs/mutation.md)."""
