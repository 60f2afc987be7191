"""Walk the stages for one test: build, measure, judge, confirm, explain."""
