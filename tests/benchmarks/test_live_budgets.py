import json
from pathlib import Path

import live_budgets
import numpy as np


def recording(ms: float) -> list[list[object]]:
    """Return 20 s of blocks of 50 ms, as a card records them, whose medians scatter by 0.02 %."""
    medians = ms * np.random.default_rng(0).normal(1, 0.0002, 400)
    return [[[float(one) * x for x in (0.999, 1, 1.001)], 0.05, 0, 40, 1980] for one in medians]


def test_each_card_has_its_own_true_latency(tmp_path: Path) -> None:
    for number, ms in enumerate((10.0, 10.2)):
        (tmp_path / f"{number}.json").write_text(json.dumps([recording(ms)]))
    cards = [live_budgets.load(tmp_path / f"{number}.json") for number in (0, 1)]
    rows = list(live_budgets.rows(cards))
    assert {(row.case, row.budget) for row in rows} == {
        (start, budget) for start in ("cold", "warm") for budget in (-0.01, -0.005, 0.005, 0.01)
    }
    assert all((row.ok, row.over) == ((1, 0) if row.budget > 0 else (0, 1)) for row in rows)
    assert all(row.trials == 2 for row in rows)


def test_a_file_that_does_not_exist_yet_has_no_recordings(tmp_path: Path) -> None:
    assert live_budgets.load(tmp_path / "absent.json") == []
