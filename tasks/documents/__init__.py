"""Documents into force, and what they would do: published sets, models, evaluation, simulation."""
