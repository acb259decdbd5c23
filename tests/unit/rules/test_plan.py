"""Compilation of rules to plans, and selection of containers."""

import pytest

from cmonlab.errors import NotTraceable, RuleError, UnknownName
from cmonlab.filters.pcapfilter import compile_expression
from cmonlab.points.catalogue import BY_NAME, groups
from cmonlab.rules import ContainerFacts, Rule, compile_rules, resolve_points, selects

ALL = list(BY_NAME)
try:
    compile_expression("tcp")
except NotTraceable as error:
    pytest.skip(f"libpcap is not installed: {error.why}", allow_module_level=True)


def plan(available=ALL, **fields):
    (found,) = compile_rules([Rule(**{"name": "web", "match": "tcp port 80"} | fields)], available)
    return found


def test_plan_of_a_rule_with_defaults():
    found = plan()
    assert found.filter == tuple(compile_expression("tcp port 80"))
    assert (found.name, found.mode, found.sample, found.limit) == ("web", "capture", 2**32 - 1, 0)
    assert (found.by_flow, found.selected, found.incoming, found.outgoing) == (False, False, True, True)
    assert found.duration_s is None and list(found.points) == groups()["default"]


def test_plan_of_a_rule_with_all_fields():
    match = {"packets": "udp", "containers": {"name": "a"}, "direction": "in"}
    found = plan(match=match, mode="aggregate", by="flow", sample="25%", duration="1min", points="kfree_skb")
    assert (found.sample, found.by_flow, found.selected, found.duration_s) == (2**30 - 1, True, True, 60.0)
    assert (found.incoming, found.outgoing, found.points) == (True, False, ("kfree_skb",))
    assert plan(limit=7).limit == 7
    found = plan(match=match | {"direction": "out"})
    assert (found.incoming, found.outgoing) == (False, True)


@pytest.mark.parametrize("share", [1e-300, 1e-12, 2**-32, 0.5, 0.999999999999, 1])
def test_sample_threshold_is_in_range_and_close_to_the_share(share):
    sample = plan(sample=share).sample
    assert 0 <= sample < 2**32
    assert (sample + 1) / 2**32 == pytest.approx(share, abs=2**-32)


def test_default_points_depend_on_the_mode():
    wanted = {name for group in ("path", "drops", "tcp") for name in groups()[group]}
    assert set(plan(mode="aggregate").points) == wanted
    assert list(plan(mode="count").points) == groups()["default"]


def test_points_are_unique_and_in_the_order_of_the_catalogue():
    assert resolve_points(["kfree_skb", "path", "net_dev_queue"], ALL) == tuple(
        name for name in ALL if name in {*groups()["path"], "kfree_skb"}
    )
    assert resolve_points(["all"], ALL) == tuple(ALL)
    assert resolve_points(["all"], ["mine", "net_dev_queue"]) == ("net_dev_queue", "mine")
    assert resolve_points(["mine"], ["mine"]) == ("mine",)


def test_group_takes_the_points_that_the_kernel_has():
    assert plan(["net_dev_queue"], points=["path", "drops"]).points == ("net_dev_queue",)
    with pytest.raises(NotTraceable, match="rule 'web': this kernel has no point of 'functions'"):
        plan(["net_dev_queue"], points="functions")


def test_named_point_that_the_kernel_lacks_is_refused():
    with pytest.raises(NotTraceable) as caught:
        plan(["net_dev_queue", "skb_consume_udp"], points=["net_dev_queue", "sock_recv_length"])
    error = caught.value
    assert error.what == "rule 'web': this kernel lacks the point sock_recv_length"
    assert error.why == "sock_recv_length came with Linux 6.3" and error.fix == "use skb_consume_udp instead"


def test_unknown_point_suggests_the_nearest_name():
    with pytest.raises(UnknownName, match="unknown point or group 'pth'\n  fix: did you mean 'path'"):
        resolve_points(["pth"], ALL)
    with pytest.raises(
        RuleError, match="rule 'web': unknown point or group 'net_dev_que'\n  fix: did you mean 'net_dev_queue'"
    ):
        plan(points="net_dev_que")


def test_error_of_an_expression_names_its_rule():
    with pytest.raises(RuleError) as caught:
        plan(match="tcp prot 80")
    assert caught.value.what == "rule 'web': the expression 'tcp prot 80' cannot be used"
    assert "'prot' is not a keyword" in caught.value.why and "'proto'" in caught.value.fix


def test_compiled_rules_keep_order_and_number_and_names_are_limited():
    rules = [Rule(name=f"r{number}", match="") for number in range(17)]
    assert compile_rules([], ALL) == [] and [found.name for found in compile_rules(rules[:16], ALL)][-1] == "r15"
    with pytest.raises(RuleError, match="not 17"):
        compile_rules(rules, ALL)
    with pytest.raises(RuleError, match="more than one rule has the name"):
        compile_rules([rules[0], rules[0]], ALL)


WEB = ContainerFacts("web-1", "nginx:1.27", {"tier": "front", "canary": ""}, ("mynet", "bridge"))


@pytest.mark.parametrize(
    ("containers", "chosen"),
    [
        ({"name": "web-*"}, True),
        ({"name": "web"}, False),
        ({"name": ["db", "w?b-[0-9]"]}, True),
        ({"name": "WEB-1"}, False),
        ({"image": "nginx*"}, True),
        ({"image": "nginx"}, False),
        ({"network": "my*"}, True),
        ({"network": "host"}, False),
        ({"label": "tier=front"}, True),
        ({"label": "tier=fr*"}, False),
        ({"label": "tier"}, True),
        ({"label": "tie"}, False),
        ({"label": {"tier": "back", "canary": None}}, True),
        ({"label": "canary="}, True),
        ({"label": "canary=x"}, False),
        ({"name": "web-*", "image": "redis"}, False),
        ({"name": "web-*", "label": "tier=front", "network": "bridge"}, True),
        ({"name": "[", "image": "nginx*"}, False),
        ({"name": "*" * 255}, True),
    ],
)
def test_selectors_match_containers(containers, chosen):
    assert selects(Rule(name="web", match={"containers": containers}), WEB) is chosen


def test_rule_without_selectors_selects_every_container():
    assert selects(Rule(name="web", match=""), ContainerFacts("any"))


def test_container_without_network_matches_no_network_pattern():
    assert not selects(Rule(name="web", match={"containers": {"network": "*"}}), ContainerFacts("any"))
