"""The method: questions, scores, edits, evaluation and statistics."""
