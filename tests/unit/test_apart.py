"""What containers could swap is mounted from copies."""

from typing import Any

from domain.apart import set_apart

HOME, APART = "/labs/lab", "/labs/.agent/apart/lab.1"


def bind(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"type": "bind", "source": f"{HOME}{source}", "target": target, **more}


def test_what_stands_beside_each_other_is_left_as_it_is() -> None:
    document = {"services": {"a": {"volumes": [bind("/x", "/x"), bind("/xy", "/y")]}, "b": {}}}

    assert set_apart(document, HOME, APART) == (document, {})


def test_an_outer_folder_that_nobody_writes_to_needs_no_copies() -> None:
    document = {"services": {"a": {"volumes": [bind("", "/w", read_only=True), bind("/x", "/x")]}}}

    assert set_apart(document, HOME, APART)[1] == {}


def test_an_inner_mount_comes_from_a_copy_which_the_outer_one_shows_too() -> None:
    document = {
        "services": {
            "a": {"volumes": [bind("", "/w"), bind("/data", "/data")]},
            "b": {"volumes": [bind("", "/all", read_only=True)]},
        }
    }

    changed, copies = set_apart(document, HOME, APART)

    assert copies == {"0": "data"}
    copy = f"{APART}/0"
    assert changed["services"]["a"]["volumes"] == [
        bind("", "/w"),
        {**bind("", "/data"), "source": copy},
        {**bind("", "/w/data"), "source": copy},
    ]
    assert changed["services"]["b"]["volumes"] == [
        bind("", "/all", read_only=True),
        {**bind("", "/all/data"), "source": copy, "read_only": True},
    ]


def test_a_place_that_is_taken_is_left_to_who_took_it() -> None:
    own = {"type": "volume", "source": "v", "target": "/w/data/"}
    document = {"services": {"a": {"volumes": [bind("", "/w"), bind("/data", "/d"), own]}}}

    changed, _ = set_apart(document, HOME, APART)

    assert [mount["target"] for mount in changed["services"]["a"]["volumes"]] == [
        "/w",
        "/d",
        "/w/data/",
    ]


def test_mounts_in_mounts_in_mounts_have_a_copy_each() -> None:
    document = {
        "services": {"a": {"volumes": [bind("", "/w"), bind("/x", "/x"), bind("/x/y", "/y")]}}
    }

    changed, copies = set_apart(document, HOME, APART)

    assert copies == {"0": "x", "1": "x/y"}
    found = {m["target"]: m["source"] for m in changed["services"]["a"]["volumes"]}
    assert found == {
        "/w": HOME,
        "/x": f"{APART}/0",
        "/y": f"{APART}/1",
        "/w/x": f"{APART}/0",
        "/w/x/y": f"{APART}/1",
        "/x/y": f"{APART}/1",
    }


def test_files_of_configs_and_secrets_are_copied_too() -> None:
    document = {
        "services": {"a": {"volumes": [bind("", "/w")]}},
        "secrets": {"s": {"name": "s", "file": f"{HOME}/key"}},
        "configs": {"c": {"file": "/elsewhere"}},
    }

    changed, copies = set_apart(document, HOME, APART)

    assert copies == {"0": "key"}
    assert changed["secrets"]["s"]["file"] == f"{APART}/0"
    assert changed["configs"]["c"]["file"] == "/elsewhere"
