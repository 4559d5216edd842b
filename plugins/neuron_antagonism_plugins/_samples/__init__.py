"""Generated examples of the four tasks, in the project's own words."""
