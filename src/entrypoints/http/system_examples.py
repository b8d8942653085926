"""Examples of what is told of the agent and its host, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from domain.consistency import ConsistencyReport
from domain.usecases.health import HealthReport
from entrypoints.http.audit import AuditList
from entrypoints.http.contract import Change, HostHealth, ListedContainer, PendingChange
from entrypoints.http.system import Readiness, SystemInfo, SystemResources

_UP = {"state": "up", "reason": "", "since": None}


def _memory(total: int, used: int, percent: float) -> dict[str, float]:
    return {
        "total_bytes": total,
        "used_bytes": used,
        "available_bytes": total - used,
        "percent": percent,
    }


EXAMPLES: Mapping[type[Any], Any] = {
    HealthReport: {
        "status": "ok",
        "reasons": [],
        "version": "0.1.0",
        "uptime_seconds": 86400,
        "engine": _UP,
        "store": _UP,
        "heartbeat": _UP,
        "last_heartbeat_at": "2026-01-31T12:00:00Z",
        "running_containers": 4,
        "operations": 0,
    },
    Readiness: {"ready": True, "reasons": []},
    SystemInfo: {
        "hostname": "lab-host-1",
        "operating_system": "Debian GNU/Linux 13 (trixie)",
        "kernel": "6.12.48",
        "architecture": "x86_64",
        "cpus": 8,
        "memory_bytes": 33566277632,
        "runtime": "docker",
        "docker_version": "28.5.1",
        "docker_api_version": "1.51",
        "compose_version": "2.40.0",
        "storage_driver": "overlay2",
        "docker_root": "/var/lib/docker",
        "cgroup_version": "2",
        "agent_version": "0.1.0",
        "host_id": "6f1b0a52-0000-4000-8000-000000000001",
        "workspace_dir": "/opt/containers",
        "max_containers": 10,
        "max_cpu_percent": 80.0,
        "max_memory_percent": 80.0,
        "network_pool": "10.213.0.0/16",
        "firewall": {"active": True, "reason": ""},
        "policy": {
            "profile": "lab",
            "capabilities": ["CHOWN", "KILL", "NET_ADMIN", "NET_BIND_SERVICE", "SETGID", "SETUID"],
            "devices": ["/dev/net/tun"],
            "bind_roots": [],
            "registries": ["registry.example.com"],
            "host_ports": "1-65535",
            "new_privileges": False,
        },
    },
    SystemResources: {
        "sampled_at": "2026-01-31T12:00:00Z",
        "cpu": {
            "percent": 12.5,
            "per_core_percent": [20.0, 5.0],
            "load_1m": 0.42,
            "load_5m": 0.36,
            "load_15m": 0.31,
        },
        "memory": _memory(33566277632, 8391569408, 25.0),
        "swap": _memory(0, 0, 0.0),
        "file_systems": [
            {
                "role": "docker",
                "path": "/var/lib/docker",
                "total_bytes": 270553174016,
                "used_bytes": 67638293504,
                "free_bytes": 189189996544,
                "percent": 26.3,
                "total_inodes": 16777216,
                "free_inodes": 15904405,
            }
        ],
        "network": {"received_bytes": 2543602730, "sent_bytes": 550427100},
    },
    ConsistencyReport: {
        "checked_at": "2026-01-31T12:00:00Z",
        "consistent": False,
        "differences": [
            {
                "kind": "unknown-folder",
                "subject": "old-lab",
                "detail": "The folder belongs to no environment that there is a record of.",
                "hint": "Remove it if nobody needs what is in it.",
                "since": "2026-01-31T09:00:00Z",
            }
        ],
        "healed": [],
    },
    AuditList: {
        "entries": [
            {
                "entry": {
                    "number": 4711,
                    "at": "2026-01-31T12:00:00Z",
                    "subject": "platform",
                    "key_id": "3f2a9c41",
                    "address": "10.1.2.9",
                    "method": "PUT",
                    "route": "/api/v1/environments/{name}",
                    "path": "/api/v1/environments/user123-devlab",
                    "target": "user123-devlab",
                    "operation": "01a21521359d-f9dec10b5e41",
                    "status": 202,
                    "code": "",
                },
                "outcome": "ok",
            }
        ],
        "next": 4711,
        "left_out": 0,
    },
    Change: {"name": "user123-devlab", "status": "started"},
    PendingChange: {
        "name": "user123-devlab",
        "status": "restarting",
        "operation": "01a21521359d-f9dec10b5e41",
        "detail": "Operation 01a21521359d-f9dec10b5e41 is running after 25 s and goes on; "
        "see GET /agent/containers for what runs.",
    },
    ListedContainer: {
        "id": "68ef1de5db860269ee11a1595723353528b59a84a260afdf2c0a2f8af2ffad20",
        "name": "user123-devlab-web-1",
        "image": "nginx:1.27",
        "status": "running",
    },
    HostHealth: {
        "uptime_seconds": 864000,
        "running_containers": 4,
        "mem_percent": 25.0,
        "cpu_percent": 12.5,
    },
}
"""Kind of answer → one of it."""
