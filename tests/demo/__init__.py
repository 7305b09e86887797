"""The demonstration: one certificate renewed twice under a load of mail, the usual way and with rollover.

`acts` does what an administrator would do, `watch` looks on, `screen` and `plain` show it on a
terminal and elsewhere, `verdict` counts.
"""
