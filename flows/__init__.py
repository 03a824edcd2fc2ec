"""The schedules. Importing this package sets Prefect's environment before Prefect is imported."""

from flows.environment import set_defaults

set_defaults()
