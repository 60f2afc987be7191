"""The ground that every other package stands on: records, figures, statistics, git, files."""
