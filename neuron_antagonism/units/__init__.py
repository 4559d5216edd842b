"""What is stored of a job: one file a kind, with its key, how it is computed, and what it means."""
