"""What a supervisor and its users have to agree on: names of files, and requests."""

from __future__ import annotations

SOCKET = "valkey.sock"
USERS_LOCK = "users.lock"
SUPERVISOR_LOCK = "supervisor.lock"
SERVER_LOCK = "server.lock"
CONTROL = "control.fifo"
PIN = "pinned"

# Requests, one byte each. They share the FIFO with signal numbers, which are below 65.
UNPIN = b"u"
END = b"e"
