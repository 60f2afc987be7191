import pytest

from pytest_trt.core.records import Estimate, Result, Verdict
from pytest_trt.judge.suite import doubtful_failures, e_value, reason_unable_to_fail, scatters


def result(name, status="ok", looks=1, basis="baseline", ratio=None):
    return Result(name, (Verdict(status, basis, "ms", "", looks=looks, ratio=ratio),))


def suite(failing, unchanged):
    return [*failing, *(result(f"ok{n}") for n in range(unchanged))]


@pytest.mark.parametrize(
    ("status", "looks", "expected"),
    [("regressed", 1, 500), ("regressed", 2, 5e5), ("over_budget", 2, 5e5), ("ok", 1, 0), ("inconclusive", 2, 0)],
)
def test_each_independent_measurement_is_a_thousand_times_less_often_wrong(status, looks, expected):
    assert e_value(Verdict(status, "baseline", "ms", "", looks=looks)) == pytest.approx(expected)


def test_a_wrong_verdict_has_an_e_value_whose_mean_is_one():
    """At the tolerance, a measurement is wrong in 0.001 of cases, and the second may be wrong or undecided."""
    once, twice = (e_value(Verdict("regressed", "baseline", "ms", "", looks=looks)) for looks in (1, 2))
    assert 0.001 * (1 - 0.001) * once + 0.001 * 0.001 * twice == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    "grown",
    [
        Verdict("regressed", "baseline", "ms", "", ratio=Estimate.exact(1.2)),
        Verdict("regressed", "baseline", "memory_mb", "", ratio=Estimate.exact(1.2)),
        Verdict("over_budget", "budget", "memory_mb", ""),
    ],
)
def test_a_size_that_grew_cannot_be_chance(grown):
    assert not scatters(grown)
    assert doubtful_failures(suite([Result("grown", (grown,))], 10**4)) == frozenset()


def test_sizes_do_not_weaken_the_verdicts_of_times():
    once = result("once", "regressed", ratio=Estimate(1.2, 1.1, 1.3))
    sizes = tuple(Verdict("ok", "baseline", f"{name}_mb", "") for name in ("memory", "process", "host", "engine"))
    assert scatters(once.verdicts[0])
    assert scatters(Verdict("unenforced", "budget", "", ""))
    assert doubtful_failures([once, *(result(str(n)) for n in range(4)), Result("sizes", sizes)]) == frozenset()


@pytest.mark.parametrize("status", ["regressed", "over_budget"])
def test_one_measurement_is_enough_for_five_tests_and_two_for_five_thousand(status):
    basis = "baseline" if status == "regressed" else "budget"
    once, twice = result("once", status, 1, basis), result("twice", status, 2, basis)
    assert doubtful_failures([once]) == frozenset()
    assert doubtful_failures(suite([once], 4)) == frozenset()
    assert doubtful_failures(suite([once], 5)) == {"once"}
    assert doubtful_failures(suite([twice], 4999)) == frozenset()
    assert doubtful_failures(suite([twice], 5000)) == {"twice"}


def test_failures_that_hold_together_need_less_evidence_each():
    two = [result("a", "regressed", 2), result("b", "regressed", 2)]
    assert doubtful_failures(suite(two, 9998)) == frozenset()
    assert doubtful_failures(suite(two, 9999)) == {"a", "b"}
    assert doubtful_failures([result(str(n), "regressed") for n in range(50)]) == frozenset()


def test_verdicts_that_judge_nothing_do_not_count():
    once = result("once", "regressed")
    absent = [result("new", "new"), result("missing", "missing"), result("outputs", "ok", basis="accuracy")] * 10
    assert doubtful_failures([once, *absent]) == frozenset()
    assert doubtful_failures([]) == frozenset()


def test_a_run_without_changes_rarely_has_a_failure_that_holds():
    """Every figure lies exactly at its tolerance: a verdict is wrong with probability 0.001 in each measurement."""
    import numpy as np

    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(40):
        looks = generator.geometric(1 - 0.001, size=500) - 1
        failing = [result(str(n), "regressed", int(count)) for n, count in enumerate(looks) if count]
        doubtful = doubtful_failures(suite(failing, 500 - len(failing)))
        wrong += len(doubtful) < len(failing)
    assert wrong == 0  # 40 runs x 0.001: expected 0.04 at most


FAILING = frozenset(("regressed", "over_budget"))


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ([], "no budget and no baseline"),
        ([("new", "baseline")], "no budget and no baseline"),
        ([("ok", "run")], "no budget and no baseline"),
        ([("inconclusive", "baseline"), ("missing", "baseline")], "inconclusive: no verdict could be decided"),
        ([("unenforced", "budget")], "not enforced: its budgets name other devices, or its quarantine lasts"),
        ([("inconclusive", "baseline"), ("ok", "budget")], ""),
        ([("improved", "baseline")], ""),
        ([("ok", "accuracy")], ""),
        ([("regressed", "baseline")], ""),
    ],
)
def test_a_test_whose_verdicts_decide_nothing_cannot_fail(statuses, reason):
    verdicts = tuple(Verdict(status, basis, "ms", "") for status, basis in statuses)
    assert reason_unable_to_fail(Result("t", verdicts), FAILING) == reason


def test_a_test_that_fails_when_it_is_undecided_can_fail():
    undecided = result("t", "inconclusive")
    assert reason_unable_to_fail(undecided, FAILING | {"inconclusive"}) == ""


def test_nothing_is_doubtful_in_a_run_without_failures():
    assert doubtful_failures([result("a"), result("b", "inconclusive")]) == frozenset()
    assert doubtful_failures([result("a", "regressed"), result("b")], error=0.5) == frozenset()
