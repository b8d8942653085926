"""Settings: defaults, and every fault told at once."""

import subprocess
import sys

import pytest

from entrypoints.settings import SETTINGS, Settings, SettingsRefused, read_settings


def test_without_variables_every_setting_has_its_default() -> None:
    settings = read_settings({})

    assert settings.api_port == 8003
    assert settings.heartbeat_interval == 10
    assert settings.docker_socket == "unix:///var/run/docker.sock"
    assert (settings.max_containers, settings.max_cpu_percent) == (10, 80)
    assert settings.workspace_dir == "/opt/containers"
    assert settings.runtime == "docker"


def test_settings_and_their_list_are_the_same() -> None:
    assert [setting.name.lower() for setting in SETTINGS] == list(Settings.__struct_fields__)


def test_empty_variables_count_as_not_set() -> None:
    assert read_settings({"API_PORT": " ", "MANAGER_URL": ""}) == read_settings({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_PORT", "0"),
        ("API_PORT", "65536"),
        ("API_PORT", "80x"),
        ("API_PORT", "8e3"),
        ("MAX_CONTAINERS", "-1"),
        ("MAX_CPU_PERCENT", "nan"),
        ("MAX_CPU_PERCENT", "101"),
        ("HEARTBEAT_INTERVAL", "0"),
        ("HEARTBEAT_INTERVAL", "often"),
        ("MANAGER_URL", "manager.example.com"),
        ("MANAGER_URL", "ftp://manager"),
        ("MANAGER_URL", "https://user:pw@manager"),
        ("MANAGER_URL", "https://manager:port"),
        ("MANAGER_URL", "https://manager/?a=b"),
        ("DOCKER_SOCKET", "docker.sock"),
        ("WORKSPACE_DIR", "relative"),
        ("WORKSPACE_DIR", "/opt/../etc"),
        ("MONITORING_AUTH", "maybe"),
        ("RUNTIME", "podman"),
        ("LOG_LEVEL", "LOUD"),
        ("ENVIRONMENT", "staging"),
        ("HOST_ID", "a/b"),
        ("HOST_ID", ".."),
        ("SERVER_KEY", "two words"),
        ("MAX_BUNDLE_BYTES", "1"),
        ("ENGINE_TIMEOUT", "0"),
        ("STOP_GRACE", "120"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsRefused) as refusal:
        read_settings({"HOST_ID": "a", "SERVER_KEY": "b", name: value})

    (fault,) = refusal.value.faults
    assert fault.startswith(name)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsRefused) as refusal:
        read_settings({"API_PORT": "x", "MAX_CONTAINERS": "x", "MANAGER_URL": "https://m"})

    assert [fault.split()[0] for fault in refusal.value.faults] == [
        "API_PORT",
        "MAX_CONTAINERS",
        "HOST_ID",
        "SERVER_KEY",
    ]


def test_a_plain_path_names_the_socket_too() -> None:
    assert read_settings({"DOCKER_SOCKET": "/run/d.sock"}).docker_socket == "unix:///run/d.sock"


def test_a_wrong_setting_stops_the_start_with_exit_code_2() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "entrypoints.cli.main", "serve"],
        env={"API_PORT": "x", "RUNTIME": "y"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert "API_PORT" in ended.stderr
    assert "RUNTIME" in ended.stderr
