"""Judge figures and outputs. Nothing here measures."""
