"""Settings: their models, checks and pages."""
