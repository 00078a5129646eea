"""Asking questions: requests in, typed answers out."""
