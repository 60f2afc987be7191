"""The hosts that engines are built and run on: this one, and those that a command starts Python on."""
