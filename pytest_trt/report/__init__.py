"""Reports: results in, text out. Nothing is judged here."""
