"""From data to questions: items, options, prompts, and the sets of examples."""
