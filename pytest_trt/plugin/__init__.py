"""pytest's way in: hooks, fixtures, collection, and the session."""
