"""The table: every key that a bundle's Compose file may have, what it may say, and why.

It is read beside the Compose specification, as ``docker compose config`` writes a resolved model.
A key that is not here is refused. Rows that refuse everything stand here for their reason, which
the author is told.
"""

from domain.compose_policy.addresses import (
    address,
    free_of_pool,
    host_entry,
    joined,
    not_own_port,
    published,
)
from domain.compose_policy.checks import (
    Row,
    Table,
    anything,
    each,
    keys,
    named,
    number,
    one_of,
    refused,
    soft_and_hard,
    switch,
    text,
)
from domain.compose_policy.values import (
    capability,
    device,
    duration,
    file_target,
    health_test,
    host_folder,
    image,
    inside,
    label_name,
    memory,
    own_image,
    service_name,
    service_reference,
    sysctl,
    tmpfs,
    within_container,
    working_folder,
)


def no(why: str, instead: str = "Take it away.") -> Row:
    """The row of a key that is known and refused, with its reason."""
    return Row(refused(why, instead), why)


_HOST = "It would reach into the host."
_NO_MEANING = "means nothing outside of Swarm"
_OF_AGENT = "The agent sets it for every container."
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_USER = r"[^\s\x00-\x1f\x7f]*"

_LABELS = named(text(), check_name=label_name, most=200)
_SIZED = number(-1, 2**62)
_TIME = duration(0.5, 86_400)

ULIMITS: Table = {
    "nofile": Row(number(0, 1_048_576), "open files, up to what Docker itself gives"),
    "nproc": Row(number(0, 65_535), "processes of one user; the container's own limit holds too"),
    "core": Row(_SIZED, "size of core dumps"),
    "memlock": Row(_SIZED, "locked memory counts towards the container's limit"),
    "stack": Row(_SIZED, "the same"),
    "fsize": Row(_SIZED, "size of files"),
    "cpu": Row(_SIZED, "seconds of CPU"),
}
"""Limits of processes. Others loosen what is shared: priorities, queues, pending signals."""

_ULIMITS = keys({name: Row(soft_and_hard(row), row.reason) for name, row in ULIMITS.items()})

HEALTHCHECK: Table = {
    "test": Row(health_test, "runs in the container"),
    "interval": Row(duration(0.5, 86_400), "not so often that the Engine does nothing else"),
    "timeout": Row(_TIME, "how long one test may take"),
    "retries": Row(number(0, 1000), "how many tests fail before it counts"),
    "start_period": Row(_TIME, "how long failures count for nothing"),
    "start_interval": Row(_TIME, "the interval in that time"),
    "disable": Row(switch, "no test at all"),
}

HOOK: Table = {
    "command": Row(anything, "runs in the container"),
    "user": Row(text(), "a user of the container"),
    "privileged": no(_HOST, "Let the image do it."),
    "working_dir": Row(working_folder, "a folder of the container"),
    "environment": Row(anything, "variables of the command"),
}

BIND: Table = {
    "create_host_path": Row(switch, "a folder that is missing is made, inside of the bundle"),
    "propagation": Row(
        one_of("", "private", "rprivate", why="Mounts would spread between container and host."),
        "mounts stay on their side",
    ),
    "selinux": Row(one_of("z", "Z", why="Only z and Z are known."), "a label of the files"),
    "recursive": Row(
        one_of("enabled", "disabled", "readonly", "writable", why="It is not a known word."),
        "nothing is mounted inside of a bundle",
    ),
}

MOUNT: Table = {
    "type": Row(
        one_of("bind", "volume", "tmpfs", why="Only bind, volume and tmpfs are known to be safe."),
        "kinds of mounts",
    ),
    "source": Row(anything, "judged with the type"),
    "target": Row(within_container, "a place in the container"),
    "read_only": Row(switch, "takes rights away"),
    "consistency": Row(text(), "means nothing on Linux"),
    "bind": Row(keys(BIND), "options of a bind mount"),
    "volume": Row(
        keys(
            {
                "nocopy": Row(switch, "the volume begins empty"),
                "labels": Row(_LABELS, "for the author's own use"),
                "subpath": no(
                    "A container could put a link in its place.", "Use a volume of its own."
                ),
            }
        ),
        "options of a volume",
    ),
    "tmpfs": Row(
        keys(
            {
                "size": Row(memory, "memory of the container"),
                "mode": Row(number(0, 0o7777), "permission bits"),
            }
        ),
        "options of a tmpfs",
    ),
}

PORT: Table = {
    "name": Row(text(), "for people"),
    "mode": Row(one_of("ingress", "host", why="Only ingress and host are known."), _NO_MEANING),
    "host_ip": Row(address, "on which of the host's addresses"),
    "target": Row(number(1, 65_535), "a port of the container"),
    "published": Row(published, "a port of the host that operators may keep for labs"),
    "protocol": Row(one_of("tcp", "udp", "sctp", why="Only tcp, udp, sctp are known."), "protocol"),
    "app_protocol": Row(text(), "for people"),
}

ATTACHMENT: Table = {
    "aliases": Row(each(text()), "names inside of the environment's own network"),
    "ipv4_address": Row(address, "an address of the environment's own network"),
    "ipv6_address": no("Networks of environments have no IPv6.", "Take an IPv4 address."),
    "mac_address": Row(text(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"), "of its own network"),
    "priority": Row(number(-1_000_000, 1_000_000), "which network comes first"),
    "gw_priority": Row(number(-1_000_000, 1_000_000), "which network leads out"),
    "link_local_ips": no("Services of the cloud answer at such addresses."),
    "driver_opts": no(_HOST),
}

_RESOURCES = keys(
    {
        "limits": Row(
            keys(
                {
                    "cpus": Row(text(), "held to the host's most"),
                    "memory": Row(text(), "held to the host's most"),
                    "pids": Row(text(), "held to the host's most"),
                }
            ),
            "limits",
        ),
        "reservations": Row(
            keys(
                {
                    "cpus": Row(anything, _NO_MEANING),
                    "memory": Row(anything, _NO_MEANING),
                    "devices": no(_HOST),
                    "generic_resources": no(_HOST),
                }
            ),
            "reservations",
        ),
    }
)

DEPLOY: Table = {
    "replicas": Row(number(0, 10_000), "how many containers; the host's room is looked at"),
    "resources": Row(_RESOURCES, "limits"),
    "restart_policy": Row(
        keys(
            {
                "condition": Row(
                    one_of("none", "on-failure", "any", "always", "unless-stopped", why="Unknown."),
                    "when it is started again",
                ),
                "delay": Row(anything, _NO_MEANING),
                "max_attempts": Row(number(0, 1_000_000), "how often"),
                "window": Row(anything, _NO_MEANING),
            }
        ),
        "when it is started again",
    ),
    "labels": Row(_LABELS, "for the author's own use"),
    "mode": Row(
        one_of("replicated", "global", why="Only replicated and global are known."), _NO_MEANING
    ),
    "endpoint_mode": Row(anything, _NO_MEANING),
    "placement": Row(anything, _NO_MEANING),
    "update_config": Row(anything, _NO_MEANING),
    "rollback_config": Row(anything, _NO_MEANING),
}

_FILE_MOUNT = keys(
    {
        "source": Row(text(_NAME), "one of the file's own"),
        "target": Row(file_target, "a place in the container"),
        "uid": Row(text(), "owner in the container"),
        "gid": Row(text(), "group in the container"),
        "mode": Row(number(0, 0o7777), "permission bits"),
    }
)

BUILD: Table = {
    "context": Row(inside("A build context"), "a folder of the bundle"),
    "dockerfile": Row(anything, "judged with the context"),
    "dockerfile_inline": Row(anything, "judged as a Dockerfile"),
    "additional_contexts": Row(named(text()), "judged one by one"),
    "args": Row(named(text(longest=131_072)), "judged with the Dockerfile"),
    "target": Row(text(), "a stage of the Dockerfile"),
    "labels": Row(_LABELS, "for the author's own use"),
    "secrets": Row(each(_FILE_MOUNT), "files of the bundle"),
    "extra_hosts": Row(each(host_entry), "names for addresses"),
    "network": Row(
        one_of("", "default", "none", why=_HOST),
        "builds have a network apart",
    ),
    "shm_size": Row(memory, "shared memory"),
    "ulimits": Row(_ULIMITS, "limits of processes"),
    "platforms": Row(each(text(r"[a-z0-9/_.-]+"), most=4), "what it is built for"),
    "no_cache": Row(switch, "builds anew"),
    "pull": Row(switch, "asks for newer base images"),
    "provenance": Row(
        one_of("true", "false", "mode=min", "mode=max", True, False, why="Unknown."),
        "what is written down of the build",
    ),
    "sbom": no("It would run a scanner from elsewhere."),
    "cache_from": no("It would read files or registries of the host."),
    "cache_to": no("It would write files or registries."),
    "tags": no("Tags are the host's, and others start from them."),
    "ssh": no("It would lend the host's own SSH keys."),
    "isolation": no("It means nothing on Linux."),
    "privileged": no(_HOST),
    "entitlements": no(_HOST),
}

SERVICE: Table = {
    "annotations": no("They speak to the container runtime.", "Use labels."),
    "attach": Row(switch, "whose output is shown"),
    "blkio_config": no("It names devices of the host."),
    "build": Row(keys(BUILD), "how the image is built"),
    "cap_add": Row(each(capability), "only of the host's list"),
    "cap_drop": Row(each(text()), "takes rights away"),
    "cgroup": Row(
        one_of("private", why="It would see the control groups of the host."),
        "its own control groups",
    ),
    "cgroup_parent": no("It would leave the limits of the host."),
    "command": Row(anything, "runs in the container"),
    "configs": Row(each(_FILE_MOUNT), "files of the bundle"),
    "container_name": Row(text(_NAME), "an alias in the environment's networks"),
    "cpu_count": Row(anything, _OF_AGENT),
    "cpu_percent": Row(anything, _OF_AGENT),
    "cpu_period": Row(anything, _OF_AGENT),
    "cpu_quota": Row(anything, _OF_AGENT),
    "cpu_rt_period": no("Real-time work would starve the host."),
    "cpu_rt_runtime": no("Real-time work would starve the host."),
    "cpu_shares": Row(number(0, 262_144), "its part where CPUs are short"),
    "cpus": Row(anything, "held to the host's most"),
    "cpuset": Row(text(r"[0-9,-]*"), "which CPUs"),
    "credential_spec": no("It would read credentials of the host."),
    "depends_on": Row(anything, "the order of starting"),
    "deploy": Row(keys(DEPLOY), "replicas, limits, restarts"),
    "develop": no("Nothing is watched on a host of labs."),
    "device_cgroup_rules": no("They open devices of the host."),
    "devices": Row(each(device), "only of the host's list"),
    "dns": Row(each(address), "servers for names"),
    "dns_opt": Row(each(text()), "options for names"),
    "dns_search": Row(each(text()), "domains for names"),
    "domainname": Row(text(), "its own name"),
    "entrypoint": Row(anything, "runs in the container"),
    "environment": Row(named(text(longest=131_072)), "variables; none of the agent's"),
    "expose": Row(each(text(r"[0-9]+(?:-[0-9]+)?(?:/[a-z]+)?")), "ports of the container"),
    "external_links": no("It names containers of others.", "Use depends_on."),
    "extra_hosts": Row(each(host_entry), "names for addresses"),
    "gpus": no("GPUs are devices of the host."),
    "group_add": Row(each(text()), "groups in the container"),
    "healthcheck": Row(keys(HEALTHCHECK), "runs in the container"),
    "hostname": Row(text(r"[A-Za-z0-9._-]*", longest=253), "its own name"),
    "image": Row(image, "from a registry, or built"),
    "init": Row(switch, "a first process that reaps others"),
    "ipc": Row(joined("memory", "private", "shareable", "none"), "within the bundle"),
    "isolation": Row(one_of("default", "", why="It means nothing on Linux."), "Windows only"),
    "labels": Row(_LABELS, "for the author's own use"),
    "links": Row(each(service_reference), "names inside of the environment"),
    "logging": Row(
        keys(
            {
                "driver": Row(
                    one_of(
                        "",
                        "json-file",
                        "local",
                        "none",
                        why="It would send output elsewhere.",
                        instead="Take it away; output is kept by the host and can be read there.",
                    ),
                    "output stays on the host",
                ),
                "options": Row(
                    keys(
                        {
                            "max-size": Row(anything, _OF_AGENT),
                            "max-file": Row(anything, _OF_AGENT),
                            "compress": Row(anything, _OF_AGENT),
                        }
                    ),
                    "how much is kept",
                ),
            }
        ),
        "how output is kept",
    ),
    "mac_address": Row(text(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"), "of its own network"),
    "mem_limit": Row(anything, "held to the host's most"),
    "mem_reservation": Row(anything, _OF_AGENT),
    "mem_swappiness": Row(number(0, 100), "when memory is swapped"),
    "memswap_limit": Row(anything, _OF_AGENT),
    "models": no("Models run outside of the container."),
    "network_mode": Row(joined("network", "none"), "within the bundle"),
    "networks": Row(named(keys(ATTACHMENT)), "the environment's own networks"),
    "oom_kill_disable": no("The host's memory would run out."),
    "oom_score_adj": no("Others would be killed in its place."),
    "pid": Row(joined("processes"), "within the bundle"),
    "pids_limit": Row(anything, "held to the host's most"),
    "platform": Row(text(r"[a-z0-9/_.-]*"), "what the image is for"),
    "ports": Row(each(keys(PORT), most=100), "published on the host"),
    "post_start": Row(each(keys(HOOK)), "runs in the container"),
    "pre_stop": Row(each(keys(HOOK)), "runs in the container"),
    "privileged": no("It has all rights on the host.", "Ask for single capabilities with cap_add."),
    "profiles": Row(each(text()), "which services run"),
    "provider": no("It would run a program on the host."),
    "pull_policy": Row(
        text(r"always|missing|if_not_present|never|build|refresh|daily|weekly|every_\w+"),
        "when the image is fetched",
    ),
    "read_only": Row(switch, "takes rights away"),
    "restart": Row(
        text(r"no|always|unless-stopped|on-failure(?::\d{1,6})?"), "when it is started again"
    ),
    "runtime": no("The runtime is the host's affair."),
    "scale": Row(number(0, 10_000), "how many containers; the host's room is looked at"),
    "secrets": Row(each(_FILE_MOUNT), "files of the bundle"),
    "security_opt": Row(
        each(
            one_of(
                "no-new-privileges",
                "no-new-privileges:true",
                "no-new-privileges=true",
                why="It would loosen what keeps the container in.",
            )
        ),
        "takes rights away",
    ),
    "shm_size": Row(memory, "memory of the container"),
    "stdin_open": Row(switch, "an open standard input"),
    "stop_grace_period": Row(duration(0, 600), "how long it may take to stop"),
    "stop_signal": Row(text(r"[A-Za-z0-9+-]*"), "how it is told to stop"),
    "storage_opt": no("The storage driver is the host's."),
    "sysctls": Row(named(text(), check_name=sysctl), "parameters of the container's own"),
    "tmpfs": Row(each(tmpfs), "memory of the container"),
    "tty": Row(switch, "a terminal"),
    "ulimits": Row(_ULIMITS, "limits of processes"),
    "use_api_socket": no("It hands out the Docker socket."),
    "user": Row(text(_USER), "a user of the container"),
    "userns_mode": no("It would be a user of the host."),
    "uts": no("It would have the host's own name."),
    "volume_driver": no("Drivers reach outside of the host's own disks."),
    "volumes": Row(each(keys(MOUNT), most=200), "files of the bundle, volumes, memory"),
    "volumes_from": Row(each(service_reference), "what a service of the bundle mounts"),
    "working_dir": Row(working_folder, "a folder of the container"),
}

VOLUME: Table = {
    "name": Row(anything, "volumes bear their environment's name"),
    "driver": Row(
        one_of(
            "",
            "local",
            why="Drivers reach outside of the host's own disks.",
        ),
        "on the host's disk",
    ),
    "driver_opts": no("They make it any folder of the host.", "Take a plain volume."),
    "external": no("It is somebody else's.", "Take it away: an environment has its own."),
    "labels": Row(_LABELS, "for the author's own use"),
}

NETWORK: Table = {
    "name": Row(anything, "networks bear their environment's name"),
    "driver": Row(
        one_of(
            "",
            "bridge",
            "default",
            why="Only networks of the driver bridge are known to be kept from the host and from "
            "others.",
        ),
        "a network apart",
    ),
    "driver_opts": Row(
        keys(
            {
                "com.docker.network.driver.mtu": Row(number(576, 65_535), "size of packets"),
                "com.docker.network.bridge.enable_icc": Row(text("true|false"), "its own services"),
            }
        ),
        "those that stay within",
    ),
    "ipam": Row(
        keys(
            {
                "driver": Row(one_of("", "default", why=_HOST), "who gives addresses"),
                "config": Row(
                    each(
                        keys(
                            {
                                "subnet": Row(free_of_pool, "kept where addresses are fixed"),
                                "gateway": Row(address, "in the range"),
                                "ip_range": Row(text(r"[0-9A-Fa-f.:/]*"), "in the range"),
                                "aux_addresses": Row(named(address), "in the range"),
                            }
                        ),
                        most=4,
                    ),
                    "ranges of addresses",
                ),
                "options": no(_HOST),
            }
        ),
        "addresses",
    ),
    "external": no("It is somebody else's.", "Take it away: an environment has its own."),
    "internal": Row(switch, "no way out"),
    "attachable": Row(switch, _NO_MEANING),
    "enable_ipv4": Row(switch, "always on"),
    "enable_ipv6": Row(anything, "always off"),
    "labels": Row(_LABELS, "for the author's own use"),
}

_FILE: Table = {
    "name": Row(anything, "for people"),
    "file": Row(inside("A file"), "a file of the bundle"),
    "labels": Row(_LABELS, "for the author's own use"),
    "content": no("It is written into a container by Docker.", "Put it into a file of the bundle."),
    "environment": no("It reads the variables of a program of the host.", "Put it into a file."),
    "external": no("It is somebody else's.", "Put it into a file."),
}

MODEL: Table = {
    "name": Row(anything, "the environment's own is taken"),
    "version": Row(anything, "means nothing"),
    "services": Row(
        named(keys(SERVICE), check_name=service_name, most=100), "what runs, one by one"
    ),
    "networks": Row(named(keys(NETWORK), most=20), "the environment's own"),
    "volumes": Row(named(keys(VOLUME), most=100), "the environment's own"),
    "configs": Row(named(keys(_FILE), most=100), "files of the bundle"),
    "secrets": Row(named(keys(_FILE), most=100), "files of the bundle"),
    "models": no("Models run outside of containers."),
}
"""What bundles of strangers may hold."""

_TRUSTED_LABELS = named(anything, check_name=label_name)

_TRUSTED_SERVICE: Table = {
    "image": Row(own_image, "the agent's own images are single environments'"),
    "labels": Row(_TRUSTED_LABELS, "the agent knows its own by labels"),
    "deploy": Row(keys({"labels": Row(_TRUSTED_LABELS, "labels")}, unknown=anything), "labels"),
    "build": Row(
        keys(
            {
                "labels": Row(_TRUSTED_LABELS, "the agent knows its own by labels"),
                "tags": Row(each(own_image), "the agent's own images are single environments'"),
            },
            unknown=anything,
        ),
        "labels and tags",
    ),
    "ports": Row(
        each(
            keys({"published": Row(not_own_port, "the agent's own port")}, unknown=anything),
            most=1000,
        ),
        "the agent's own port",
    ),
    "volumes": Row(
        each(
            keys({"source": Row(host_folder, "the agent's own folders")}, unknown=anything),
            most=1000,
        ),
        "the agent's own folders",
    ),
}

TRUSTED_MODEL: Table = {
    "services": Row(
        named(keys(_TRUSTED_SERVICE, unknown=anything), check_name=service_name, most=1000),
        "what runs, one by one",
    ),
    "networks": Row(
        named(
            keys(
                {
                    "labels": Row(_TRUSTED_LABELS, "the agent knows its own by labels"),
                    "ipam": Row(
                        keys(
                            {
                                "config": Row(
                                    each(
                                        keys(
                                            {"subnet": Row(free_of_pool, "the agent's pool")},
                                            unknown=anything,
                                        )
                                    ),
                                    "the agent's pool",
                                )
                            },
                            unknown=anything,
                        ),
                        "the agent's pool",
                    ),
                },
                unknown=anything,
            )
        ),
        "labels and ranges",
    ),
    "volumes": Row(
        named(keys({"labels": Row(_TRUSTED_LABELS, "labels")}, unknown=anything)), "labels"
    ),
}
"""What would break the agent itself; all else may stand in the operator's own bundles."""
