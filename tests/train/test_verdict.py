"""The rule by which a checkpoint is the best, and a training has nothing more to gain."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovits.errors import OutputError
from sovits.library import VERDICT, best_checkpoint
from sovits.train.ears import MEASURES
from sovits.train.verdict import (
    GAIN,
    Evaluation,
    State,
    choose,
    points,
    read_state,
    told,
    without_gain,
    write_state,
    write_text,
)

MEL = MEASURES["held_out_mel"].point


def at(step: int, mel: float = 1.0, **rest: Any) -> Evaluation:
    """Return an evaluation of which the distance, and what else is named, was measured."""
    more = {key: rest.pop(key) for key in list(rest) if key in MEASURES}
    rest.setdefault("checkpoint", f"G_{step}.pth" if step else None)
    return Evaluation(step, 2.0 * step, 0.5, {"held_out_mel": mel, **more}, **rest)


def everything(_name: str) -> bool:
    return True


def best(*evaluations: Evaluation, **rest: Any) -> int | None:
    found = choose(evaluations, rest.pop("there", everything), **rest)
    return found.evaluation.step if found else None


@pytest.mark.parametrize("key", MEASURES)
def test_each_measure_alone_decides_in_its_own_direction(key: str) -> None:
    better, worse = (1.0, 2.0) if MEASURES[key].point < 0 else (2.0, 1.0)
    evaluations = [
        Evaluation(step, 0.0, 0.0, {key: value}, f"G_{step}.pth")
        for step, value in ((1, worse), (2, better), (3, worse))
    ]
    assert best(*evaluations) == 2


def test_a_point_of_one_measure_outweighs_less_than_a_point_of_another() -> None:
    a = at(1, mel=1.0, similarity=0.80)
    assert best(a, at(2, mel=1.0 - 0.9 * MEL, similarity=0.811)) == 2
    assert best(a, at(2, mel=1.0 - 1.1 * MEL, similarity=0.81)) == 1


def test_only_what_all_of_them_have_counts() -> None:
    low = at(1, mel=0.5)
    assert best(low, at(2, mel=0.6, similarity=0.99)) == 1
    assert best(at(3, mel=0.5, similarity=0.1), at(2, mel=0.6, similarity=0.99)) == 2


def test_what_is_not_there_cannot_be_the_best() -> None:
    evaluations = at(0, 0.1), at(1, 0.2), at(2, 0.3), at(3, 0.4)
    assert best(*evaluations) == 1  # step 0 has no checkpoint
    assert best(*evaluations, there=lambda name: name == "G_3.pth") == 3
    assert best(*evaluations, there=lambda name: False) is None
    assert best() is None


def test_voices_from_before_the_discriminators_count_only_while_there_are_no_others() -> None:
    blurred = at(10, 0.2), at(20, 0.1)
    assert best(*blurred, adversarial_from=20) == 20
    assert best(*blurred, at(21, 0.5), at(30, 0.4), adversarial_from=20) == 30
    assert best(*blurred, at(30, 0.4)) == 20  # they took part from the beginning
    assert without_gain([*blurred, at(21, 0.5), at(30, 0.4)], adversarial_from=20) == 0


def test_the_newer_of_equals_is_taken() -> None:
    assert best(at(1), at(2), at(3, 1.5)) == 2


def test_why_is_told_in_numbers() -> None:
    evaluations = [
        at(1, 0.9, similarity=0.7, voicing_f1=0.9),
        at(2, 0.6, similarity=0.8, voicing_f1=0.9),
        at(3, 0.5, similarity=0.7, voicing_f1=0.9),
    ]
    found = choose(evaluations, everything)
    assert found is not None
    assert found.because == (
        "it has the most points of the 3 evaluated: none has a better similarity to target 0.800; "
        "others are better in held-out log-mel distance 0.6000 nepers (0.5000 nepers at step 3), "
        "but not in all together"
    )
    alone = choose(evaluations[:1], everything)
    assert alone is not None
    assert alone.because.startswith("it is the only one that was evaluated (held-out log-mel dist")
    late = choose([at(1), at(30)], everything, adversarial_from=20)
    assert late is not None
    assert "the only one that was evaluated since the discriminators took part (" in late.because
    gone = choose(
        [at(5, 0.1, similarity=0.9, voicing_f1=0.9), *evaluations], lambda name: name != "G_5.pth"
    )
    assert gone is not None
    assert "most points of the 3 evaluated and still there: " in gone.because
    pruned = choose(
        [at(5, 2.0, similarity=0.1, voicing_f1=0.1), *evaluations], lambda name: name != "G_5.pth"
    )
    assert pruned is not None
    assert "most points of the 4 evaluated: none" in pruned.because
    first = choose([at(1, 0.9, dnsmos=2.0), at(2, 0.8, dnsmos=3.0)], everything)
    assert first is not None
    assert first.because.endswith(
        "none has a better held-out log-mel distance 0.8000 nepers or DNSMOS overall 3.00"
    )


def test_measurements_are_told_in_a_line() -> None:
    values = {"pitch_cents": 12.34, "held_out_mel": 0.5, "cer_rise": -0.01}
    assert told(values) == (
        "held-out log-mel distance 0.5000 nepers  CER rise -0.010  pitch error 12.3 cents"
    )


def test_evaluations_without_a_gain_are_counted_from_the_last_gain() -> None:
    falling = [at(i, 1.0 + i * 2 * MEL) for i in range(5)]
    assert without_gain(falling) == 0
    still = [at(5 + i, falling[-1].values["held_out_mel"]) for i in range(3)]
    assert without_gain([*falling, *still]) == 3
    assert without_gain([*falling, *still, at(8, 0.0)]) == 0
    assert without_gain([]) == 0


def test_many_small_gains_are_a_gain() -> None:
    small = 0.3 * GAIN * MEL
    creeping = [at(i, 1.0 + i * small) for i in range(30)]
    assert max(without_gain(creeping[: n + 1]) for n in range(30)) <= 3


def test_the_end_of_a_run_is_no_evaluation_to_count_by() -> None:
    run = [at(1), at(2), at(3, regular=False), at(4, 0.0, regular=False), at(5)]
    assert without_gain(run) == 2
    assert best(*run) == 4


@given(
    st.lists(st.floats(0.1, 4.0), min_size=1, max_size=12),
    st.integers(0, 11),
)
def test_the_best_has_the_most_points_and_counting_never_looks_ahead(
    distances: list[float], cut: int
) -> None:
    evaluations = [at(step, mel) for step, mel in enumerate(distances, 1)]
    found = choose(evaluations, everything)
    assert found is not None
    keys = ["held_out_mel"]
    most = points(found.evaluation.values, keys)
    assert all(points(e.values, keys) <= most for e in evaluations)
    before, after = without_gain(evaluations[:cut]), without_gain(evaluations[: cut + 1])
    if cut < len(evaluations):
        assert after in (0, before + 1)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = State(
        [at(0), at(4, 0.5, similarity=0.9, each={"copy-1": {"held_out_mel": 0.4}}, regular=False)],
        every=3,
        seconds=12.5,
        saved=4,
    )
    write_state(tmp_path, state, {"best": {"checkpoint": "G_4.pth"}})
    assert read_state(tmp_path, pytest.fail) == state
    assert best_checkpoint(tmp_path) == "G_4.pth"
    assert [path.name for path in tmp_path.iterdir()] == [VERDICT]


def test_a_training_that_goes_on_forgets_what_it_will_do_again() -> None:
    state = State([at(0), at(4), at(8), at(12)], seconds=99.0, saved=12)
    state.forget_after(8)
    assert [e.step for e in state.evaluations] == [0, 4, 8]
    assert (state.saved, state.seconds) == (8, 16.0)
    state.forget_after(9)
    assert (state.saved, state.seconds) == (8, 16.0)


def test_a_file_that_was_written_again_holds_no_older_weights() -> None:
    state = State([at(4, checkpoint="G_1.pth"), at(8, checkpoint="G_1.pth"), at(9)])
    state.saved_as("G_1.pth", 8, 20.0)
    assert [e.checkpoint for e in state.evaluations] == [None, "G_1.pth", "G_9.pth"]
    assert (state.saved, state.seconds) == (8, 20.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "it is not of the format sovits-verdict-1"),
        ({"format": "other"}, "it is not of the format"),
        ({"evaluations": [{"step": "x"}]}, "step"),
        ({"evaluations": [{"step": 1, "more": 2}]}, "There is no setting more"),
        ({"every": None}, "every is None"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_is_damaged_is_said_so(tmp_path: Path, change: Any, reason: str) -> None:
    write_state(tmp_path, State([at(1)]), {})
    path = tmp_path / VERDICT
    if isinstance(change, dict):
        change = json.dumps(json.loads(path.read_text()) | change)
    path.write_text(change)
    lines: list[str] = []
    assert read_state(tmp_path, lines.append) == State()
    assert re.search(rf"cannot be read \(.*{reason}.*\); its curves begin anew\.", lines[0])
    assert best_checkpoint(tmp_path) is None


def test_measures_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    write_state(tmp_path, State([at(1), Evaluation(2, 0.0, 0.0, {"beauty": 1.0})]), {})
    assert [e.step for e in read_state(tmp_path, pytest.fail).evaluations] == [1]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OutputError, match="x cannot be written"):
        write_text(tmp_path / "x", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
