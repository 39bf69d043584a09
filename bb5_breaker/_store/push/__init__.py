"""Connections in subscribed mode: what the feed of views and the event bus have in common."""
