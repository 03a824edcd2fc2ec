"""Big loops: causes are found, planned against, measured and closed, and people are told."""
