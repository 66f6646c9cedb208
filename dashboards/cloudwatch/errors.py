class DashboardError(Exception):
    """Base of everything this package raises on purpose; the message says what to do next."""


class UnsupportedError(DashboardError, NotImplementedError):
    """CloudWatch can do this, the offline evaluation cannot: never guessed, always named."""


class DefinitionError(DashboardError, ValueError):
    """An alarm, dashboard, test or series that CloudWatch would refuse, or that cannot be read."""
