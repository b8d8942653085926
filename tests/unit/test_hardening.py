"""What every container is started with."""

from domain.compose_policy import PolicyProfile, PolicyRules
from domain.compose_policy.rules import ENGINE_CAPABILITIES
from domain.hardening import hardened

RULES = PolicyRules()


def test_a_service_that_says_nothing_gets_what_the_engine_gives_and_no_more() -> None:
    assert hardened({}, RULES) == {
        "init": True,
        "cap_drop": ["ALL"],
        "cap_add": sorted(ENGINE_CAPABILITIES),
        "security_opt": ["no-new-privileges:true"],
    }


def test_what_it_asks_for_comes_along_as_far_as_it_is_allowed() -> None:
    asked = hardened({"cap_add": ["CAP_NET_ADMIN", "SYS_ADMIN"], "init": False}, RULES)

    assert asked["cap_add"] == sorted({*ENGINE_CAPABILITIES, "NET_ADMIN"})
    assert "init" not in asked


def test_what_it_drops_is_dropped() -> None:
    assert hardened({"cap_drop": ["all"]}, RULES)["cap_add"] == []
    some = hardened({"cap_drop": ["ALL"], "cap_add": ["net_raw"]}, RULES)
    assert some["cap_add"] == ["NET_RAW"]
    assert "CHOWN" not in hardened({"cap_drop": ["chown"]}, RULES)["cap_add"]


def test_an_operator_can_allow_less_than_the_engine_gives() -> None:
    rules = PolicyRules(capabilities=frozenset({"CHOWN"}))

    assert hardened({}, rules)["cap_add"] == ["CHOWN"]


def test_an_operator_can_let_setuid_programs_work() -> None:
    assert hardened({}, PolicyRules(new_privileges=True))["security_opt"] == []


def test_trusted_bundles_say_themselves_what_they_need() -> None:
    assert hardened({}, PolicyRules(profile=PolicyProfile.TRUSTED)) == {"init": True}
