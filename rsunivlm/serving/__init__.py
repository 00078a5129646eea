"""Answers over HTTP: OpenAI's chat completions and typed endpoints for every task (extra `serve`)."""
