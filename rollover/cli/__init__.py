"""Parse, print, exit. One file a command group."""
