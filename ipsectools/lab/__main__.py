"""`python -m ipsectools.lab`: the demo. Interrupted while its modules are being loaded, it just ends."""

import signal
import sys


def main() -> int:
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ipsectools.lab import demo

    return demo.main()


if __name__ == "__main__":
    sys.exit(main())
