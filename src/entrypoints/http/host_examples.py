"""Examples of what is told of containers, images, networks, volumes, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from domain.container_details import ProcessTable
from domain.engine_images import ImageRemoval
from domain.pulls import PulledImage
from domain.registry_credentials import KeptRegistry
from domain.usecases.container_pruning import Pruned
from domain.usecases.container_waiting import Waited
from domain.usecases.network_pruning import PrunedNetworks
from domain.usecases.volume_pruning import PrunedVolumes
from entrypoints.http.container_views import (
    ContainerListView,
    CreatedContainer,
    FileChanges,
    SingleContainer,
)
from entrypoints.http.image_transfers import LoadedImages
from entrypoints.http.images import ImageDetailsView, ImageList, ImagePruneResult, ImageView
from entrypoints.http.networks import NetworkDetailsView, NetworkList
from entrypoints.http.registries import RegistryList
from entrypoints.http.volumes import VolumeList, VolumeView

_CONTAINER = {
    "id": "dbef24706f09252ee1eaf40713a3caa81634fbdb727117cb92005716923b7528",
    "name": "web-101",
    "image": "nginx:1.27",
    "image_id": "sha256:790d23b11adbae694841912137a7084acf213c758100d61cd42e56746ccf4584",
    "state": "running",
    "status": "Up 2 hours (healthy)",
    "health": "healthy",
    "exit_code": None,
    "created_at": "2026-01-31T12:00:00Z",
    "ports": [
        {"container_port": 80, "protocol": "tcp", "host_address": "10.1.2.3", "host_port": 8080}
    ],
    "labels": {"course": "web-101"},
    "environment": None,
    "service": None,
}
_NETWORK = {
    "id": "f515466f7a5ee893c86021cab989141ddb26d5479d407c7b7e1570f90a2fc900",
    "name": "course-web",
    "driver": "bridge",
    "scope": "local",
    "internal": True,
    "ipv6": False,
    "ranges": [{"subnet": "10.213.4.0/24", "gateway": "10.213.4.1"}],
    "labels": {"course": "web-101"},
    "options": {},
    "created_at": "2026-01-31T12:00:00Z",
    "environment": None,
}
_VOLUME = {
    "name": "web-101-data",
    "driver": "local",
    "labels": {"course": "web-101"},
    "options": {},
    "created_at": "2026-01-31T12:00:00Z",
    "anonymous": False,
    "used_by": [{"name": "web-101", "id": _CONTAINER["id"], "running": True}],
    "environment": None,
    "size_bytes": 52428800,
}

_IMAGE = {
    "id": _CONTAINER["image_id"],
    "repo_tags": ["nginx:1.27"],
    "repo_digests": [
        "nginx@sha256:ca433c3c4b4eeab0694547adbd1336ff6bf58105faf7ac3ad343109f421053e5"
    ],
    "created_at": "2026-01-20T08:00:00Z",
    "size_bytes": 192004096,
    "labels": {"maintainer": "web team"},
    "used_by": {"containers": ["web-101"], "environments": []},
}


def container_example(status: str, exit_code: int | None = None) -> dict[str, Any]:
    """One container, whole.

    Args:
        status: how it fares.
        exit_code: of one that has ended.
    """
    begun, runs = status != "created", status in {"running", "paused"}
    ports = [{"container_port": 80, "protocol": "tcp", "host_address": "10.1.2.3"}]
    return {
        "id": _CONTAINER["id"],
        "name": "web-101",
        "created_at": "2026-01-31T12:00:00Z",
        "image": "nginx:1.27",
        "image_id": _CONTAINER["image_id"],
        "state": {
            "status": status,
            "pid": 21743 if runs else None,
            "exit_code": exit_code,
            "error": "",
            "oom_killed": False,
            "started_at": "2026-01-31T12:00:01Z" if begun else None,
            "finished_at": "2026-01-31T14:00:00Z" if exit_code is not None else None,
            "health": {"status": "healthy", "failing_streak": 0, "probes": []} if runs else None,
        },
        "restart_count": 0,
        "command": ["nginx", "-g", "daemon off;"],
        "entrypoint": ["/docker-entrypoint.sh"],
        "env": {"COURSE": "web-101"},
        "labels": {"course": "web-101"},
        "user": "",
        "working_dir": "",
        "hostname": "dbef24706f09",
        "tty": False,
        "open_stdin": False,
        "stop_signal": "SIGQUIT",
        "stop_timeout": None,
        "privileged": False,
        "read_only": False,
        "init": True,
        "network_mode": "course-web",
        "cap_add": ["CHOWN", "NET_BIND_SERVICE", "SETGID", "SETUID"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "devices": [],
        "restart_policy": {"name": "unless-stopped", "maximum_retry_count": 0},
        "auto_remove": False,
        "healthcheck": {
            "test": ["CMD-SHELL", "wget -q -O /dev/null localhost"],
            "interval_seconds": 10.0,
            "timeout_seconds": None,
            "start_period_seconds": None,
            "retries": None,
        },
        "extra_hosts": ["db:10.213.4.9"],
        "dns": [],
        "dns_search": [],
        "dns_options": [],
        "ulimits": {"nofile": {"soft": 1024, "hard": 4096}},
        "sysctls": {},
        "shm_size_bytes": 67108864,
        "group_add": [],
        "limits": {
            "cpus": 0.5,
            "memory_bytes": 268435456,
            "memory_and_swap_bytes": 268435456,
            "pids": 100,
        },
        "log_config": {"type": "local", "config": {"max-file": "2", "max-size": "5242880"}},
        "mounts": [
            {
                "type": "volume",
                "name": "web-101-data",
                "source": "/var/lib/docker/volumes/web-101-data/_data",
                "destination": "/usr/share/nginx/html",
                "read_only": True,
                "driver": "local",
            }
        ],
        "networks": [
            {
                "name": "course-web",
                "network_id": _NETWORK["id"],
                "ip_address": "10.213.4.2" if runs else "",
                "gateway": "10.213.4.1" if runs else "",
                "mac_address": "02:42:0a:d5:04:02" if runs else "",
                "aliases": [],
            }
        ],
        "port_bindings": [{**port, "host_port": "8080"} for port in ports],
        "ports": [{**port, "host_port": 8080} for port in ports] if runs else [],
        "environment": None,
    }


EXAMPLES: Mapping[type[Any], Any] = {
    SingleContainer: container_example("running"),
    CreatedContainer: {**container_example("created"), "warnings": []},
    ImageView: {**_IMAGE, "shared_bytes": 78643200, "dangling": False},
    ImageList: {
        "images": [{**_IMAGE, "shared_bytes": 78643200, "dangling": False}],
        "total": 1,
    },
    ImageDetailsView: {
        **_IMAGE,
        "architecture": "amd64",
        "variant": "",
        "os": "linux",
        "author": "",
        "comment": "buildkit.dockerfile.v0",
        "config": {
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cmd": ["nginx", "-g", "daemon off;"],
            "entrypoint": ["/docker-entrypoint.sh"],
            "working_dir": "",
            "user": "",
            "exposed_ports": ["80/tcp"],
            "volumes": [],
            "stop_signal": "SIGQUIT",
            "shell": [],
            "on_build": [],
            "healthcheck_test": [],
        },
        "layers": ["sha256:6b712a8ba9e590780fc64f14b92359596acb5795130eef6f15a07f5bda86f467"],
        "history": [
            {
                "created_at": "2026-01-20T08:00:00Z",
                "created_by": 'CMD ["nginx" "-g" "daemon off;"]',
                "size_bytes": 0,
                "comment": "buildkit.dockerfile.v0",
                "repo_tags": ["nginx:1.27"],
            }
        ],
    },
    ContainerListView: {"containers": [_CONTAINER], "total": 1},
    Pruned: {
        "dry_run": False,
        "containers": [
            {
                "id": _CONTAINER["id"],
                "name": "web-101",
                "image": "nginx:1.27",
                "state": "exited",
                "size_bytes": 12288,
            }
        ],
        "kept": [],
        "space_reclaimed_bytes": 12288,
    },
    Waited: {
        "id": _CONTAINER["id"],
        "name": "web-101",
        "condition": "healthy",
        "state": "running",
        "health": "healthy",
        "exit_code": None,
    },
    ProcessTable: {
        "titles": ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"],
        "processes": [
            ["root", "21743", "21683", "0", "12:00", "?", "00:00:00", "nginx: master process"]
        ],
    },
    FileChanges: {"changes": [{"path": "/run/nginx.pid", "kind": "added"}], "total": 1},
    PulledImage: {
        "reference": "nginx:1.27",
        "id": _CONTAINER["image_id"],
        "digest": "sha256:ca433c3c4b4eeab0694547adbd1336ff6bf58105faf7ac3ad343109f421053e5",
        "updated": True,
    },
    LoadedImages: {"images": ["nginx:1.27"]},
    ImageRemoval: {"untagged": ["nginx:1.27"], "deleted": [_CONTAINER["image_id"]]},
    ImagePruneResult: {
        "dry_run": False,
        "images": [
            {"id": _CONTAINER["image_id"], "repo_tags": ["nginx:1.27"], "size_bytes": 192004096}
        ],
        "reclaimed_bytes": 192004096,
    },
    KeptRegistry: {"registry": "registry.example.com", "username": "jana"},
    RegistryList: {"registries": [{"registry": "registry.example.com", "username": "jana"}]},
    NetworkList: {"networks": [_NETWORK], "total": 1},
    NetworkDetailsView: {
        **_NETWORK,
        "endpoints": [
            {
                "container_id": _CONTAINER["id"],
                "container": "web-101",
                "running": True,
                "ipv4_address": "10.213.4.2",
                "mac_address": "02:42:0a:d5:04:02",
            }
        ],
    },
    PrunedNetworks: {
        "dry_run": False,
        "networks": [{"id": _NETWORK["id"], "name": "course-web", "driver": "bridge"}],
        "kept": [],
    },
    VolumeList: {"volumes": [_VOLUME], "total": 1},
    VolumeView: _VOLUME,
    PrunedVolumes: {
        "dry_run": False,
        "volumes": [{"name": "web-101-data", "size_bytes": 52428800}],
        "kept": [],
        "space_reclaimed_bytes": 52428800,
    },
}
"""Kind of answer → one of it."""
