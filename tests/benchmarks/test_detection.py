import itertools
import json
import math

import detection
import detection_bench
import numpy as np
import other_methods
import pytest
import replay
import simulation


def trace(engines, question="b4", clocks=None):
    return replay.Trace(question, {name: np.asarray(rows, dtype=float) for name, rows in engines.items()}, clocks or {})


def noisy(level, rounds=24, samples=30, seed=0, noise=0.002):
    return level * np.random.default_rng(seed).normal(1, noise, size=(rounds, samples))


@pytest.fixture
def folder(tmp_path):
    """A trace of another kind than the recorded ones: two questions, other engines, other shapes."""
    np.savez(
        tmp_path / "traces.npz",
        **{
            "net/seq8/cached": noisy(0.5, seed=1),
            "net/seq8/slower": noisy(0.52, seed=2),
            "net/seq8/rebuild7": noisy(0.5, seed=3),
            "b4/cached": noisy(2.0, 30, 8, seed=4),
            "b4/new": noisy(2.2, 28, 10, seed=5),
        },
    )
    rows = [[4, r, name, 2.0, 1800 + r, 50, 1, 0] for r in range(30) for name in ("cached", "new")]
    (tmp_path / "telemetry.json").write_text(json.dumps(rows))
    return tmp_path


def test_any_trace_in_the_format_is_accepted(folder, capsys):
    out = folder / "out.json"
    arguments = ["--traces", str(folder / "traces.npz"), "--trials", "5", "--json", str(out), "--max-time", "1"]
    detection.main(arguments)
    rows = json.loads(out.read_text())
    promised = {"question", "engine", "true_ratio", "tolerance", "right", "wrong", "inconclusive", "gpu_s", "blocks"}
    assert promised | {"counted"} <= rows[0].keys()
    judged = {(r["question"], r["engine"], r["tolerance"]): r for r in rows if r["method"] == "pytest-trt"}
    slower = judged["net/seq8", "slower", 0.01]
    assert (slower["right"], slower["regressed"], slower["counted"]) == (1.0, 1.0, True)
    assert slower["true_ratio"] == pytest.approx(1.04, abs=0.002)
    assert judged["net/seq8", "rebuild7", 0.01]["right"] == 1.0
    assert judged["b4", "new", 0.01]["right"] == 1.0
    assert sum(slower[share] for share in ("right", "wrong", "inconclusive")) == pytest.approx(1.0)
    assert "| net/seq8 | pytest-trt | slower |" in capsys.readouterr().out


def test_simulations_are_fitted_to_the_trace(folder):
    out = folder / "out.json"
    arguments = ["--traces", str(folder / "traces.npz"), "--trials", "4", "--simulate", "--max-time", "0.5", "--json"]
    detection.main([*arguments, str(out)])
    assert {row["question"] for row in json.loads(out.read_text())} == {"net/seq8 simulated", "b4 simulated"}


def test_fewer_than_45_pairs_tell_a_percent_in_a_scatter_of_1_4_percent():
    arguments = detection.parse_arguments(["--trials", "400", "--parts", "needed"])
    rows = list(detection.rows(arguments, []))
    assert [(row.right, row.wrong) for row in rows] == [(1.0, 0.0)] * 2
    assert sum(row.blocks for row in rows) / 4 < 47  # 45 in many trials; 400 of them scatter by 1


def test_recorded_traces_are_judged_correctly():
    arguments = detection.parse_arguments(["--trials", "20", "--parts", "paired"])
    counted = [row for row in detection.rows(arguments, detection.load_traces(arguments)) if row.counted]
    assert len(counted) == 22
    assert sum(row.wrong for row in counted) == 0
    assert min(row.right for row in counted) >= 0.95
    assert float(np.mean([row.gpu_s for row in counted if row.question == "b1"])) <= 0.2
    assert max(row.gpu_s for row in counted) <= 3.0


@pytest.mark.parametrize(
    ("status", "ratio", "wrong"),
    [
        ("regressed", 1.0, True), ("regressed", 1.01, True), ("regressed", 1.02, False),
        ("ok", 1.0, False), ("ok", 1.02, True), ("ok", 0.9, False),
        ("improved", 0.9, False), ("improved", 1.0, True),
        ("inconclusive", 1.5, False),
    ],
)  # fmt: skip
def test_a_verdict_is_wrong_when_it_contradicts_the_truth(status, ratio, wrong):
    assert detection_bench.contradicts(status, ratio, 0.01) is wrong


def test_ratios_near_the_tolerance_are_not_counted():
    engines = {name: np.full((9, 9), 2.0 * ratio) for name, ratio in (("cached", 1), ("near", 1.0105), ("far", 1.02))}
    questions = detection_bench.Questions((0.01,), 0.001)
    bench = detection_bench.DetectionBench(2, 10.0, 5, 1.0, 0)
    rows = bench.paired(trace(engines), questions)
    assert [(row.engine, row.counted) for row in rows] == [("near", False), ("far", True)]


def test_true_ratio_is_the_ratio_of_round_medians():
    engines = {"cached": [[1, 1, 9], [2, 2, 9], [3, 3, 9]], "new": [[1.1, 1.1, 0], [2.4, 2.4, 0], [3.9, 3.9, 0]]}
    assert trace(engines).true_ratio("new") == pytest.approx(1.2)


def test_block_is_the_start_of_a_round_and_counts_only_its_own_time():
    found = trace({"cached": [[1.0, 2.0, 3.0, 4.0]] * 2}, clocks={"cached": {0: 1800.0}}).blocks("cached", 5.0, 1)
    assert [block.times["ms"] for block in found] == [(1.0, 2.0)] * 2
    assert found[0].seconds == pytest.approx(0.003)
    assert [dict(block.state) for block in found] == [{"sm_mhz": 1800.0}, {}]
    assert len(trace({"cached": [[1.0] * 9]}).blocks("cached", 1.0, 4)[0].times["ms"]) == 4


@pytest.mark.parametrize(("sample_ms", "count"), [(0.25, 40), (2.0, 15), (20.0, 2), (400.0, 1)])
def test_block_has_as_many_samples_as_in_a_probe(sample_ms, count):
    found = trace({"cached": np.full((2, 60), sample_ms)}).blocks("cached", 10.0, 15)
    assert len(found[0].times["ms"]) == count


def test_slow_engines_are_distinguished_within_the_time_limit():
    engines = {"cached": noisy(100.0), "new": noisy(104.0, seed=1)}
    (row,) = detection_bench.DetectionBench(10, 10.0, 15, 10.0, 0).paired(
        trace(engines), detection_bench.Questions((0.01,), 0.001)
    )
    assert (row.right, row.blocks < 30) == (1.0, True)


def test_rounds_too_short_for_a_block_do_not_loop_forever():
    """A round of 20 samples of 5 us is a hundredth of a block: in 10 s there would be 100 000 of them."""
    engines = {"cached": noisy(0.005, samples=20), "new": noisy(0.005, samples=20, seed=1)}
    bench = detection_bench.DetectionBench(2, 10.0, 15, 10.0, 0)
    (row,) = bench.same(trace(engines), detection_bench.Questions((0.0,), 0.0))
    assert row.inconclusive == 1.0
    assert row.blocks == pytest.approx(1000, rel=0.02)


def test_both_sides_of_a_pair_come_from_one_round():
    series = trace({"cached": [[float(n)] for n in range(1, 41)]}).blocks("cached", 0.1, 1)
    source = replay.PairedReplay(series, series, np.random.default_rng(0))
    pairs = [(source.next_block(0).times["ms"], source.next_block(1).times["ms"]) for _ in range(100)]
    assert all(new == old for new, old in pairs)
    values = [new[0] for new, _ in pairs]
    steps = [b - a for a, b in itertools.pairwise(values)]
    assert steps.count(1.0) + steps.count(-39.0) >= 100 - 100 // replay.RUN - 1
    assert len(set(values)) > 20


def test_exchanged_sides_are_exchanged_run_by_run():
    new, old = (trace({"cached": [[value]] * 20}).blocks("cached", 0.1, 1) for value in (1.0, 2.0))
    source = replay.PairedReplay(new, old, np.random.default_rng(0), exchange=True)
    drawn = [source.next_block(0).times["ms"][0] for _ in range(800)]
    assert all(len(set(drawn[n : n + replay.RUN])) == 1 for n in range(0, 800, replay.RUN))
    assert 0.3 < drawn.count(1.0) / 800 < 0.7


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"b1/new": np.ones((2, 2))}, "'b1' lacks the reference engine 'cached': it has 'new'"),
        ({"cached": np.ones((2, 2))}, "'cached' does not have the form <question>/<engine>"),
        ({"b1/cached": np.ones(5)}, r"b1/cached has the shape \(5,\): it must be rounds x samples"),
        ({"b1/cached": np.ones((1, 5))}, "at least two rounds"),
        ({"b1/cached": np.array([[1.0, np.nan], [0.0, 1.0]])}, "2.*cannot be in ms, such as nan in round 0, sample 1"),
        ({"b1/cached": np.full((2, 3), 2e7)}, "6.*cannot be in ms, such as 2e\\+07 in round 0"),
        ({"b1/cached": np.array([["a"], ["b"]])}, "times in ms must be numbers"),
        ({"b1/cached": np.array([[None], [1]])}, "cannot be loaded"),
        ({}, "contains no array"),
    ],
)
def test_invalid_trace_is_an_error(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(replay.TraceError, match=message):
        replay.load(tmp_path / "t.npz", None)


def test_unreadable_file_is_a_one_line_error(tmp_path, capsys):
    (tmp_path / "t.npz").write_text("no zip")
    (tmp_path / "telemetry.json").write_text("[1, 2]")
    for name in ("t.npz", "absent.npz"):
        with pytest.raises(SystemExit, match=rf"detection\.py: .*{name} is not an \.npz file"):
            detection.main(["--traces", str(tmp_path / name)])
    with pytest.raises(SystemExit, match=r"telemetry\.json must be a list of rows"):
        detection.main(["--telemetry", str(tmp_path / "telemetry.json"), "--trials", "1"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "0"], "--trials: '0' is not a whole number of 1 or more"),
        (["--tolerance", "-1"], "--tolerance: '-1' is not a share such as 0.01 (for 1 %)"),
        (["--tolerance", "5"], "--tolerance: '5' is not a share"),
        (["--tolerance", "1%"], "--tolerance: '1%' is not a share"),
        (["--block-ms", "0"], "--block-ms: '0' is not a time above 0"),
        (["--block-samples", "0"], "--block-samples: '0' is not a whole number"),
        (["--max-time", "nan"], "--max-time: 'nan' is not a time above 0"),  # it would never end
        (["--seed", "-1"], "--seed: '-1' is not a whole number of 0 or more"),
        (["--json", "nowhere/rows.json"], "--json: nowhere/rows.json cannot be written"),
    ],
)
def test_invalid_options_are_usage_errors(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        detection.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_telemetry_may_lack_clocks_rounds_and_engines(folder):
    rows = [["b4", 3, "cached", 2.0, 1900], [4, 5, "cached", 2.0, None], [4, 6, "new", 2.0]]
    rows.append(["net/seq8", 0, "slower", 1, 7])
    (folder / "telemetry.json").write_text(json.dumps(rows))
    long, short = replay.load(folder / "traces.npz", folder / "telemetry.json")
    assert (dict(short.clocks), dict(long.clocks)) == ({"cached": {3: 1900.0}}, {"slower": {0: 7.0}})
    assert [dict(block.state) for block in short.blocks("cached", 10.0, 5)][2:5] == [{}, {"sm_mhz": 1900.0}, {}]


def test_few_rounds_are_compared_in_pairs_only(tmp_path, capsys):
    np.savez(tmp_path / "t.npz", **{"x/cached": noisy(1.0, rounds=3), "x/new": noisy(1.1, rounds=4, seed=1)})
    detection.main(["--traces", str(tmp_path / "t.npz"), "--trials", "3", "--max-time", "1"])
    out = capsys.readouterr().out
    assert "x: 3 rounds are too few for separate stretches" in out
    assert "| x | pytest-trt | new |" in out
    assert "unpaired" not in out.replace("paired rows only", "")


def test_a_simulation_has_the_noise_it_was_fitted_to():
    generator = np.random.default_rng(0)
    series = np.empty(400)
    series[0] = 0.0
    for n in range(1, 400):
        series[n] = -0.5 * series[n - 1] + generator.normal(0, 0.01)
    noise = simulation.Noise.fit(series)
    drawn = noise.draw(4000, generator)
    assert noise.autocorrelation == pytest.approx(-0.5, abs=0.1)
    assert drawn.std() == pytest.approx(series.std(), rel=0.1)
    assert np.corrcoef(drawn[1:], drawn[:-1])[0, 1] == pytest.approx(-0.5, abs=0.1)


def test_a_simulation_has_the_ratio_it_was_given():
    model = simulation.Model.fit(trace({"cached": noisy(1.0), "new": noisy(1.0, seed=1)}), "new", 10.0, 15)
    source = simulation.Simulated(model, 1.03, np.random.default_rng(0))
    logs = [[math.log(np.median(source.next_block(side).times["ms"])) for side in (0, 1)] for _ in range(300)]
    assert np.mean([new - old for new, old in logs]) == pytest.approx(math.log(1.03), abs=0.0005)


def test_other_methods_judge_by_their_own_rules():
    flat, slow, slower = np.full((5, 20), 1.0), np.full((5, 20), 1.04), np.full((5, 20), 1.06)
    for method in (other_methods.mean_of_ten, other_methods.mean_five_percent):
        assert (method(slow, flat), method(slower, flat)) == ("ok", "regressed")
    assert (other_methods.mann_whitney(slow, flat), other_methods.mann_whitney(flat, flat)) == ("regressed", "ok")


def test_mann_whitney_has_its_size():
    generator = np.random.default_rng(0)
    draws = [other_methods.mann_whitney(*np.round(generator.normal(size=(2, 1, 60)), 1)) for _ in range(600)]
    assert 0.03 < draws.count("regressed") / 600 < 0.075
