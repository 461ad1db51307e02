"""netstat(1) for what the emulated kernel counts: IPsec statistics and interfaces. The rest is the host's netstat's."""
