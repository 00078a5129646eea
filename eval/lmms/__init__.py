"""This project's tasks for lmms-eval (written for its version 0.7.3): see `eval.lmms.utils`."""
