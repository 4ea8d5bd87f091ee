"""Errors of the dashboard.

DashboardError
└── TimelineUnreadable   what came is no coordinator's timeline
"""


class DashboardError(Exception):
    """The base of every error that the dashboard raises on purpose."""


class TimelineUnreadable(DashboardError):
    """Raised when what came is no coordinator's timeline."""
