"""The key engine: SAD, SPD, acquire list and their timers behind PF_KEY sockets.

Guarantees: every answer, error and broadcast as FreeBSD's key engine gives it; each change written to the store row by
row, so that a restart between any two messages changes nothing but registrations; no packet counter that may have been
used is ever given out again. Knows of interfaces no more than an index, of packets nothing, of the clock what it is
told.
"""
