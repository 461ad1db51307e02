"""`ipsectools`: what FreeBSD has no command for. Each subcommand is a module with `main(arguments) -> status`.

They look at the running kernel through its two doors like everybody else, and may use rich on a terminal; nothing they
print is meant to be FreeBSD's.
"""
