"""Measured costs, predicted costs, and rules at other levels."""

import numpy as np
import pytest

from cmonlab.errors import NotTraceable
from cmonlab.filters.pcapfilter import compile_expression
from cmonlab.rules import Rule, compile_rules
from cmonlab.rules.budget import COST_NS, Level
from cmonlab.rules.explain import explain
from cmonlab.tracing.cost import Cost, _cost, _Reading
from cmonlab.tracing.prediction import in_mode, predicted_ns

try:
    compile_expression("tcp")
except NotTraceable as error:
    pytest.skip(f"libpcap is not installed: {error.why}", allow_module_level=True)

POINTS = ["net_dev_queue", "netif_rx"]
UNMATCHED, LIGHT, TAKEN = COST_NS["unmatched"], COST_NS["count"], COST_NS["capture"]
DTYPE = np.dtype(
    [(name, "u8") for name in ("seen", "unmatched", "sampled_out", "counted", "recorded", "lost")]
    + [("rules", [("packets", "u8")], (16,))]
)


def measured(sample: float, scale: float = 1.0) -> Cost:
    """Return the cost of 1000 packets at two points, half of them matched, on a machine as the model has it."""
    taken = int(500 * sample)
    run = scale * (500 * UNMATCHED + (500 - taken) * LIGHT + taken * TAKEN)
    fates = [dict.fromkeys(POINTS, number) for number in (500, 500 - taken, taken)]
    matched = {(3, name): 500 for name in POINTS}
    return Cost(dict.fromkeys(POINTS, run) | {"sched_switch": 7000.0}, 2000, 1000, 0.1, *fates, matched)


def plan(points=POINTS, mode="capture"):
    return compile_rules([Rule(name="web", match="tcp", points=points, mode=mode)], points)[0]


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize(("now", "then"), [(0.02, 0.2), (1.0, 0.1), (0.5, 0.5)])
def test_predicted_cost_of_a_sample_equals_its_measured_cost(now, then, scale):
    levels = Level("capture", now), Level("capture", then)
    predicted = predicted_ns(measured(now, scale), plan(), 3, *levels, POINTS, set())
    assert predicted == pytest.approx(measured(then, scale).hop_ns)


def test_removed_points_cost_nothing_unless_other_rules_have_them():
    levels = Level("capture", 1.0), Level("count", 1.0)
    alone = predicted_ns(measured(1.0), plan(), 3, *levels, POINTS[:1], set())
    each = 500 * UNMATCHED + 500 * LIGHT
    assert alone == pytest.approx((each + 7000) / 2000)
    shared = predicted_ns(measured(1.0), plan(), 3, *levels, POINTS[:1], set(POINTS))
    assert shared == pytest.approx((each + 1000 * UNMATCHED + 7000) / 2000)


def test_prediction_leaves_points_of_other_rules_unchanged():
    levels = Level("capture", 1.0), Level("count", 1.0)
    predicted = predicted_ns(measured(1.0), plan(POINTS[:1]), 3, *levels, POINTS[:1], set(POINTS[1:]))
    assert predicted == pytest.approx((500 * (2 * UNMATCHED + TAKEN + LIGHT) + 7000) / 2000)


def test_rule_in_a_lower_mode_takes_the_same_packets():
    rule = Rule(name="web", match="tcp", limit=5, sample=0.5, max_overhead="3%")
    assert in_mode(rule, "capture") is rule
    less = in_mode(rule, "aggregate")
    assert (less.mode, less.limit, less.match, less.sample) == ("aggregate", None, rule.match, 0.5)
    assert less.points == ("default",) and less.max_overhead == "3%"
    assert in_mode(rule, "count").points == ("path", "drops")
    own = Rule(name="web", match="tcp", points=["netif_rx", "mine"], mode="capture")
    assert in_mode(own, "count").points == ("netif_rx",)
    assert in_mode(Rule(name="web", match="", mode="aggregate", by="flow"), "count").by is None
    for mode in ("aggregate", "count"):
        assert Rule.model_validate(in_mode(rule, mode).model_dump(mode="json")) == in_mode(rule, mode)


def test_rule_with_a_budget_starts_with_its_lowest_sample():
    [budgeted] = compile_rules([Rule(name="web", match="tcp", points=POINTS, max_overhead="3%")], POINTS)
    assert budgeted.budgeted and budgeted.sample == 2**32 - 1
    assert budgeted.begin == round(2**32 * 0.01) - 1
    assert plan().begin == plan().sample and not plan().budgeted


def reading(seen, run_ns, busy_s, at_s, epoch=1):
    """Return a reading: packets at the two points by CPU."""
    rows = np.zeros((2, 2), DTYPE)
    rows["seen"] = rows["recorded"] = np.array(seen)[:, None]
    rows["rules"]["packets"][..., 3] = rows["seen"]
    times = dict(zip((*POINTS, "sched_switch"), run_ns, strict=True))
    return _Reading(epoch, int(at_s * 1e9), (np.array(busy_s) * 1e9).astype(np.int64), times, tuple(POINTS), rows)


def test_cost_of_a_window_is_scaled_to_the_interval():
    # A tenth of the packets passed while the kernel counted: 2 ms of its programs are 20 ms of all.
    last = reading([0, 0], (0, 0, 0), [0, 0], 0)
    begin = reading([9000, 0], (0, 0, 0), [0.4, 0.5], 0.45)
    end = reading([10000, 0], (1_000_000, 500_000, 500_000), [0.4, 0.5], 0.5)
    cost = _cost(last, begin, end)
    assert sum(cost.run_ns.values()) == pytest.approx(20e6)
    assert (cost.hops, cost.packets) == (20000, 10000)
    assert cost.hop_ns == pytest.approx(1000) and cost.packet_ns == pytest.approx(2000)
    assert cost.share == pytest.approx(0.02 / 0.4)  # the other CPU's work is no packet's
    assert cost.taken == dict.fromkeys(POINTS, 10000) and cost.matched == {(3, name): 10000 for name in POINTS}


def test_share_is_that_of_the_cpus_with_packets():
    both = [reading([0, 0], (0, 0, 0), [0, 0], 0), reading([0, 0], (0, 0, 0), [0, 0], 0.25),
            reading([500, 500], (5_000_000, 5_000_000, 0), [0.25, 0.25], 0.5)]  # fmt: skip
    assert _cost(*both).share == pytest.approx(0.01 / 0.5)
    idle = [*both[:2], reading([1000, 0], (5_000_000, 5_000_000, 0), [0.0, 0.5], 0.5)]
    assert _cost(*idle).share == pytest.approx(0.01 / 0.05)  # a CPU counts as busy for a tenth at least


def test_too_few_packets_give_no_cost():
    few = [reading([0, 0], (0, 0, 0), [0, 0], 0), reading([10, 0], (0, 0, 0), [0, 0], 0.4)]
    assert _cost(*few, reading([20, 0], (10, 10, 10), [0.1, 0.1], 0.5)) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, []),
        ({"max_overhead": "3%"}, ["at most 3%", "begins with capture, sampled 1%", "mode aggregate, then count"]),
        ({"max_overhead": "100ns"}, ["cannot be kept"]),
        ({"max_overhead": "5%", "mode": "count"}, ["begins with count"]),
    ],
)
def test_explanation_describes_the_budget(fields, words):
    text = explain(Rule(name="web", match="tcp", **fields)).budget
    assert bool(text) == bool(fields) and all(word in text for word in words)
    assert ("falls back" in text) == (fields.get("mode") != "count" and bool(fields))
