"""What a job measures: one file a part."""
