"""What goes on, on standard error, with the seconds since the start."""
import sys
import time

BEGIN = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - BEGIN:5.0f} s] {text}", file=sys.stderr, flush=True)
