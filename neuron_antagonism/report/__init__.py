"""What people read: tables and notes, made from plain data."""
