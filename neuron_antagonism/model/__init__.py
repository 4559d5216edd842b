"""The hooked-model runner: loading, tokenising, option letters, forwards with edits."""
