"""Turn the results of a run into text. Nothing is judged here."""
