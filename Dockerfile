ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG DOCKER_CLI_IMAGE=docker:28-cli

# The client and its plugins are static binaries; only they are taken from this image.
FROM ${DOCKER_CLI_IMAGE} AS docker-cli

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/agent
COPY requirements.txt requirements-build.txt ./
RUN /opt/agent/bin/pip install --no-cache-dir --require-hashes -r requirements.txt \
    && python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.txt
COPY pyproject.toml README.md ./
COPY src src
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/agent/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Container Host Agent"
COPY --from=docker-cli /usr/local/bin/docker /usr/local/bin/docker
COPY --from=docker-cli /usr/local/libexec/docker/cli-plugins /usr/local/libexec/docker/cli-plugins
COPY --from=build /opt/agent /opt/agent
ENV PATH=/opt/agent/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AGENT_IMAGE=siberbox/container-host-agent:latest
# A volume mounted here for the first time takes this folder's owner.
RUN install -d -o 10001 -g 10001 /opt/containers /var/lib/container-host-agent
USER 10001:10001
EXPOSE 8003
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 \
    CMD ["container-host-agent", "healthcheck"]
ENTRYPOINT ["container-host-agent"]
CMD ["serve"]
