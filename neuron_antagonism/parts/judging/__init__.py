"""What scorers are judged by: one file a judge."""
