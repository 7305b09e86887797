"""A simulated world around the real engine, store and vault: see play.py."""
