"""Change the TLS certificate of a DANE-protected mail server without one deferred message."""

__version__ = "0.1.0"
