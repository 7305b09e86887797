"""Lock, load, observe, decide, store, act: the only place where the hands meet."""
