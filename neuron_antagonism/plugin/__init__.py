"""The plugin door: base classes, hook specifications, and the manager that finds plugins."""
