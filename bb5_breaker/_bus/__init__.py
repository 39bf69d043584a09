"""The parts of the event bus.

A :class:`~bb5_breaker._bus.session.Session` is one period between connect and disconnect. It has
a *feed* (one connection in subscribed mode and the thread that keeps it alive) and a *dispatcher*
(the thread that runs handlers). Both read the *registry* of subscriptions, which outlives
sessions. What the feed asked of Redis, and what Redis confirmed, stands in the *ledger*.
"""
