import pytest
import suite


def test_suite_counts_what_a_run_reports(capsys):
    suite.main(["--trials", "4", "--tests", "50", "--runs", "10", "--tolerance", "0.05"])
    head, _, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "50 tests x 10 runs, a tolerance of 0.05; 4 tests simulated a row"
    cells = {row.split(" | ")[0].strip("| "): row.strip("| ").split(" | ")[1:] for row in rows}
    assert cells["unchanged"][:6] == ["0.000%", "0.000%", "0.000%", "0", "0", "100.00%"]
    assert cells["slower by twice the tolerance"][:5] == ["100.000%", "100.000%", "100.000%", "", ""]


@pytest.mark.parametrize("arguments", [["--tests=0"], ["--runs=x"], ["--tolerance=2"], ["--trials=-1"]])
def test_invalid_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        suite.main(arguments)
    assert arguments[0].partition("=")[0] in capsys.readouterr().err
