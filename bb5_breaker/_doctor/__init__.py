"""Examines a server: what stands in the way of a fleet that keeps its circuits there.

A check is a module with a name and a function that yields what it found. It asks the
:class:`~bb5_breaker._doctor.patient.Patient` and writes nothing.
"""
