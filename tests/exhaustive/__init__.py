"""The whole state space of decide() over a small world, and what must hold in each state of it."""
