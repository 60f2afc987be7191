import argparse

import fleet_simulation
import numpy as np
import spread_simulation


def judged(tests, *, forget_cards):
    arguments = argparse.Namespace(tolerance=0.02, seed=0, forget_cards=forget_cards, rebuilt=False, slower=0.05)
    return fleet_simulation.judge(fleet_simulation.Fleet(), tests, 3, 2, arguments)


def test_fleet_whose_cards_are_known_has_no_false_alarms():
    known, unknown = judged(20, forget_cards=False), judged(20, forget_cards=True)
    assert known["unchanged regressed"] == 0
    assert sum(known.values()) - known["findings"] == sum(unknown.values()) == 40


def test_suite_needs_fewer_pairs_once_it_has_run():
    runs = list(spread_simulation.pairs_of_a_suite([0.0005] * 4, 3, np.random.default_rng(0)))
    assert [other for _, other in runs] == [0, 0, 0]
    assert runs[-1][0] <= runs[0][0]
