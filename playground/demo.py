"""The demo page: `python playground/demo.py [--model CHECKPOINT] [--port PORT]`, or `rsunivlm demo`."""

from __future__ import annotations

import sys

from rsunivlm.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
