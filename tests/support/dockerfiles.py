"""Dockerfiles as honest authors write them, and constructs that no host allows."""

HONEST = {
    "one step": "FROM alpine:3.20\nRUN apk add --no-cache nmap\n",
    "no line end": "FROM busybox",
    "stages": """\
        FROM golang:1.22-alpine AS build
        WORKDIR /src
        COPY go.mod go.sum ./
        RUN go mod download
        COPY . .
        RUN CGO_ENABLED=0 go build -o /out/server ./cmd/server

        FROM gcr.io/distroless/static-debian12:nonroot
        COPY --from=build --chown=65532:65532 /out/server /server
        USER 65532
        EXPOSE 8080/tcp
        ENTRYPOINT ["/server"]
        """,
    "stages by number and in upper case": """\
        FROM node:20 AS Assets
        RUN npm ci && npm run build
        FROM assets AS tested
        RUN npm test
        FROM nginx:1.27-alpine
        COPY --from=Assets /app/dist /usr/share/nginx/html
        COPY --from=0 /app/licences /licences
        COPY --from=busybox:stable-musl /bin/busybox /bin/
        """,
    "arguments": """\
        ARG VERSION=3.12
        ARG VARIANT="slim-bookworm"
        FROM python:${VERSION}-${VARIANT}
        ARG VERSION
        ARG http_proxy
        LABEL org.opencontainers.image.version="$VERSION"
        """,
    "a default in place": "FROM ${BASE:-alpine}\n",
    "an argument without a default": "ARG TAG\nFROM debian${TAG:+:$TAG}\n",
    "parts with defaults": (
        "ARG HUB=docker.io\nARG NAME=library/ruby\nFROM ${HUB}/${NAME}:${TAG:-3.3}\n"
    ),
    "platforms": """\
        # syntax=docker/dockerfile:1
        FROM --platform=$BUILDPLATFORM tonistiigi/xx:1.4.0 AS xx
        FROM --platform=${BUILDPLATFORM:-linux/amd64} golang:1.22 AS build
        ARG TARGETOS TARGETARCH
        COPY --from=xx / /
        RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /app .
        FROM base-${TARGETARCH}${TARGETVARIANT}
        """,
    "texts in place": """\
        # syntax=docker/dockerfile:1.7
        FROM debian:bookworm-slim
        RUN <<EOF
        set -e
        apt-get update
        FROM=elsewhere
        curl -sf http://127.0.0.1/ || true
        EOF
        RUN <<-'SETUP' bash -ex
        \techo "$HOME" \\
        \t  more
        \techo done
        \tSETUP
        COPY <<site.conf <<"index.html" /etc/site/
        listen 80;
        site.conf
        <h1>ADD http://localhost /</h1>
        index.html
        RUN python3 - <<PY > /tmp/out
        print("x" * 3)
        PY
        """,
    "no text in place": """\
        FROM alpine
        RUN echo $((1 << 2)) && cat <<< "here" || true
        RUN printf 'a <<EOF b'
        CMD ["sh", "-c", "cat <<EOF"]
        """,
    "backtick": (
        "# escape=`\nFROM mcr.microsoft.com/windows/nanoserver:ltsc2022\n"
        'COPY app.exe c:\\app\\\nRUN dir `\n  c:\\app\nSHELL ["cmd", "/S", "/C"]\n'
    ),
    "windows line ends": (
        "FROM python:3.12\r\nWORKDIR /app\r\nRUN pip install \\\r\n    flask \\\r\n    gunicorn\r\n"
        'COPY . .\r\nRUN <<EOF\r\necho x\r\nEOF\r\nCMD ["gunicorn", "app:app"]\r\n'
    ),
    "comments and blanks in a step": """\
        FROM ubuntu:22.04
        RUN apt-get update \\
            # what the lab needs
            && apt-get install -y \\

                openssh-server \\
        # --security=insecure is not needed
                sudo   \t
        """,
    "lower case": (
        "from php:8.3-apache\nrun docker-php-ext-install mysqli\ncopy src/ /var/www/html/\n"
    ),
    "trailing blanks and tabs": "FROM\tredis:7  \nRUN\ttrue \t\n   USER   redis   \n\n\n",
    "shell and health": """\
        FROM mysql:8.4
        SHELL ["/bin/bash", "-o", "pipefail", "-c"]
        HEALTHCHECK --interval=30s --timeout=3s --start-period=1m30s --retries=5 \\
            CMD mysqladmin ping -h 127.0.0.1 || exit 1
        STOPSIGNAL SIGTERM
        VOLUME ["/var/lib/mysql"]
        VOLUME /backup /logs
        """,
    "no health": "FROM alpine\nHEALTHCHECK NONE\nMAINTAINER Somebody <somebody@example.com>\n",
    "mounts": """\
        FROM python:3.12
        RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \\
            --mount=type=bind,source=requirements.txt,target=/tmp/requirements.txt \\
            pip install -r /tmp/requirements.txt
        RUN --mount=type=cache,id=apt-$TARGETARCH,target=/var/cache/apt --network=none true
        RUN --mount=from=busybox,target=/tools,ro /tools/bin/busybox true
        RUN --mount=type=tmpfs,target=/scratch,size=256m --network=default true
        RUN --mount=type=secret,id=token,required=false cat /run/secrets/token || true
        RUN --mount="type=cache,target=/root/.npm" npm ci
        """,
    "copies": """\
        FROM node:20
        COPY --chown=node:node --chmod=755 package*.json ./
        COPY --link ["a file", "/a file"]
        COPY --parents --exclude=*.md src/./ /app/
        COPY ${JAR_FILE} app.jar
        ADD rootfs.tar.xz /
        ADD ./layers/$NAME.tar.gz rootfs-${NAME}.tar /
        """,
    "checked from the web": (
        f"FROM debian\nARG V=1\nADD --checksum=sha256:{'0a' * 32} "
        "https://downloads.example.com/tool-${V}.tgz /opt/\n"
    ),
    "environment": """\
        FROM openjdk:17
        ENV JAVA_OPTS="-Xmx256m -Dx='y z'" PATH=/opt/bin:$PATH
        ENV GREETING hello  world
        ENV URL=http://localhost:8080/ EMPTY=
        WORKDIR "/a b"
        """,
    "a start for others": "FROM node:20\nONBUILD COPY package.json .\nONBUILD RUN npm install\n",
    "letters of other languages": (
        'FROM alpine\n# \u00fc\u00a0\u2026\nLABEL author="J\u00fcrgen\u00a0M\u00fc\u00dfig"\n'
        "RUN echo '\u65e5\u672c\u8a9e \u2026 \u00e0'\n"
    ),
    "a wrong letter of an older encoding": 'FROM alpine\nLABEL author="J\ufffdrgen"\n',
    "a mark at the beginning": "\ufeffFROM alpine\nRUN true\n",
    "checks turned off": "# check=skip=all\n# syntax=docker/dockerfile:1-labs\nFROM alpine\n",
    "a pinned front end": (
        f"#syntax = docker.io/docker/dockerfile:1.9@sha256:{'0a' * 32}\nFROM alpine\n"
    ),
    "shell": r"""
        FROM kalilinux/kali-rolling
        RUN set -eux; \
            for user in alice bob; do useradd -m "$user"; echo "$user:pass" | chpasswd; done; \
            echo "${PATH%%:*}" "${HOME##*/}" 'single \ quoted'; \
            sed -i 's/\(a\)\\b/\1/' /etc/hosts && \
            wget -qO- http://169.254.169.254/ || true
        RUN ["/bin/sh", "-c", "echo --network=host"]
        """,
    "a doubled sign at the end": "FROM alpine\nRUN echo \\\\\nRUN true\nRUN echo \\\\\n",
    "an escape directive too late": "#!/x\n# escape=`\nFROM alpine\nRUN echo x\n",
    "an image of nothing": 'FROM scratch\nCOPY hello /\nCMD ["/hello"]\n',
    "harmless settings of the builder": (
        "ARG BUILDKIT_SBOM_SCAN_STAGE=true\nFROM alpine\nARG SOURCE_DATE_EPOCH\n"
    ),
    "a vpn lab": """\
        FROM alpine:3.19
        RUN apk add --no-cache openvpn iptables bash
        COPY vpn.ovpn /etc/openvpn/client.conf
        COPY start.sh /start.sh
        RUN chmod +x /start.sh
        EXPOSE 1194/udp 80
        CMD ["/start.sh"]
        """,
}
"""What must pass, by what it shows; lines may be indented."""

_OUR_DIGEST = f"sha256:{'0a' * 32}"

FORBIDDEN_STEPS = [
    "RUN --security=insecure id",
    "RUN --network=host id",
    "RUN --network=HOST id",
    "RUN --network=$NET id",
    "RUN --network=default --security='insecure' id",
    'RUN --"security"=insecure id',
    "RUN --device=vendor.com/gpu=all id",
    "RUN --network host id",
    "RUN --strange=1 id",
    "RUN --mount=type=ssh id",
    "RUN --mount=type=ssh,required git clone x",
    "RUN --mount=target=/x,TYPE=SSH id",
    "RUN --mount=type=cache,target=/c --mount=type=$X,target=/x id",
    "RUN --mount=type=host,target=/x id",
    "RUN --mount=type=tmpfs,target=/x id",
    "RUN --mount=type=tmpfs,target=/x,size=100g id",
    "RUN --mount=type=tmpfs,target=/x,size=$SIZE id",
    "RUN --mount=type=bind,target=/x,propagation=shared id",
    "RUN --mount=type=bind,from=container-host-agent/own:1,target=/x id",
    "RUN --mount=type=cache,from=index.docker.io/container-host-agent/own,target=/x id",
    "RUN --mount=from=10.0.0.5/x,target=/x id",
    'RUN --mount=type=bind,"from=container-host-agent/own",target=/x id',
    "RUN --mount='type=bind,\"from=alpine\",target=/x' id",
    "RUN --mount=type=cache,target=/\u00c5--security=insecure id",
    "RUN --mount=type=cache,target=/a\\ --security=insecure id",
    "COPY --from=container-host-agent/own:1 /x /",
    f"COPY --from=docker.io/container-host-agent/shared@{_OUR_DIGEST} /x /",
    'COPY --chown=1 --from="container-host-agent/own" /x /',
    "COPY --from=$IMAGE /x /",
    "COPY --from=localhost:5000/x /x /",
    "COPY https://example.com/x /",
    "COPY --strange=x a /",
    "ADD http://169.254.169.254/latest/meta-data /x",
    "ADD https://10.0.0.1/x /",
    "ADD https://example.com/x /",
    "ADD HTTP://127.0.0.1/x /",
    "ADD http://0x7f000001/x /",
    "ADD http://2130706433/ /x",
    "ADD http://0177.0.0.1/ /x",
    "ADD http://[::1]/x /",
    "ADD http://localhost/x /",
    "ADD http://metadata.google.internal/x /",
    "ADD http://printer.local /x",
    "ADD a.txt http://intranet/x /",
    '["ADD"]',
    'ADD ["http://127.0.0.1/x", "/"]',
    'ADD "http://127.0.0.1/x" /',
    r"ADD ht\tp://127.0.0.1/x /",
    "ADD http:'//127.0.0.1/x' /",
    "ADD $URL /x",
    "ADD ht${X}tp://127.0.0.1/ /x",
    "ADD https:${X}/x /x",
    "ADD git@example.com:a/b.git /x",
    "ADD ssh://git@example.com/a /x",
    "ADD git://127.0.0.1/a /x",
    "ADD ftp://example.com/a /x",
    f"ADD --checksum={_OUR_DIGEST} https://10.0.0.1/x /",
    f"ADD --checksum={_OUR_DIGEST} https://example.com:2375/x /",
    f"ADD --checksum={_OUR_DIGEST} https://user@example.com/x /",
    f"ADD --checksum={_OUR_DIGEST} https://$HOST/x /",
    f"ADD --checksum={_OUR_DIGEST} https://example.com$X/x /",
    f"ADD --checksum={_OUR_DIGEST} https://example.com\\@10.0.0.1/x /",
    f"ADD --checksum={_OUR_DIGEST} https://\uff11\uff10.0.0.1/x /",
    f"ADD --checksum={_OUR_DIGEST} https:///x /",
    f"ADD --checksum={_OUR_DIGEST} https://example.com/a.git#main /x",
    "ADD --checksum=$SUM https://example.com/x /",
    "HEALTHCHECK --interval=1ms CMD true",
    "HEALTHCHECK --interval=0.1s --timeout=1s CMD true",
    "HEALTHCHECK --start-interval=1ns CMD true",
    "HEALTHCHECK --strange=1 CMD true",
    "ARG BUILDKIT_SYNTAX=example.com/x",
    "ARG X=1 BUILDKIT_CACHE_MOUNT_NS=other",
    "ARG 'SOURCE_DATE_EPOCH'=context",
    "MAGIC x",
    "INCLUDE other",
    "CMD --strange x",
    "ONBUILD ONBUILD RUN id",
    "FROM container-host-agent/own:1",
    "FROM docker.io/container-host-agent/own:1 AS x",
    "FROM 'container-host-agent/own'",
    r"FROM container\-host-agent/own",
    "FROM --platform=linux/amd64 index.docker.io/container-host-agent/own",
    f"FROM container-host-agent/own@{_OUR_DIGEST}",
    "FROM Container-Host-Agent/own",
    "FROM sha256:0a1b",
    "FROM localhost/x",
    "FROM registry:5000/x",
    "FROM 127.1/x",
    "FROM ${NOTHING}",
    "FROM ${X%y}",
    "FROM a$TARGETARCH/b",
    "FROM ${TARGETVARIANT:-container-host-agent/own}",
    "FROM ${TARGETSTAGE}ner-host-agent/own",
    "FROM alpine AS x y",
]
"""Instructions after ``FROM busybox`` in which something must be found."""
