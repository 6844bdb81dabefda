# syntax=docker/dockerfile:1
# The Ray head, the routers and CPU engines. From the repository's root:
#   docker build -f helm/images/cpu.Dockerfile -t registry.example.com/alpharoute:0.1.0-cpu .
# Every node of a Ray cluster needs the same minor version of Python: this one is the GPU image's, 3.12.
ARG PYTHON=3.12.11-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY requirements/runtime.txt requirements/runtime.txt
# Exact versions, without what only tests and tools need, nothing resolved anew; PyTorch's CPU wheel is not on PyPI.
RUN pip install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu -r requirements/runtime.txt
COPY pyproject.toml LICENSE README.md ./
COPY policies policies
COPY classifiers classifiers
COPY engines engines
COPY router router
COPY bench bench
RUN pip install --no-deps --no-build-isolation .

# The demo pair, trained here, so that no pod has to. --build-arg DEMO=none leaves it out: 10 minutes and 120 MB less.
FROM build AS demo-full
RUN python -m engines.demo --out /opt/alpharoute/cache/demo
FROM build AS demo-none
RUN mkdir -p /opt/alpharoute/cache/demo
ARG DEMO=full
# hadolint ignore=DL3006
FROM demo-${DEMO} AS demo

# What is in it, as CycloneDX: docker build --target sbom -o . -f helm/images/cpu.Dockerfile .
FROM build AS inventory
RUN pip install --no-cache-dir cyclonedx-bom==7.1.0 && cyclonedx-py environment /opt/venv --of JSON -o /sbom.cdx.json
FROM scratch AS sbom
COPY --from=inventory /sbom.cdx.json /

FROM python:${PYTHON} AS final
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="alpharoute (CPU)" \
      org.opencontainers.image.description="Adaptive task routing for speculative decoding: Ray head, routers, CPU engines" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# libnuma: vLLM's CPU build; tini: ends what a killed engine leaves behind.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends libnuma1 tini wget \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1000 alpharoute \
 && useradd --uid 1000 --gid 1000 --create-home alpharoute
COPY --from=build /opt/venv /opt/venv
COPY --from=demo --chown=1000:1000 /opt/alpharoute/cache /opt/alpharoute/cache
COPY --from=inventory /sbom.cdx.json /usr/share/sbom/alpharoute.cdx.json
# HAProxy with this project's rules against broken and mean clients.
RUN /opt/venv/bin/python -m router.local.haproxy /opt/alpharoute/haproxy
ENV PATH=/opt/venv/bin:$PATH \
    RAY_SERVE_HAPROXY_BINARY_PATH=/opt/alpharoute/haproxy/haproxy \
    ALPHAROUTE_CACHE=/opt/alpharoute/cache \
    RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_THROUGHPUT_OPTIMIZED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL=minor \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /home/alpharoute
EXPOSE 8000
ENTRYPOINT ["tini", "--"]
CMD ["alpharoute", "serve"]
