"""Find a test's model, read what it declares, and resolve its shapes."""
