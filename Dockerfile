# The images of Yiwen: transformer, predictor-cpu, predictor-tensorrt and builder. docs/guides/images.md tells how to
# build them (make images) and what is in them.
#
# The environment is made in stages that have pip and copied into images that do not. Each image gets it in layers:
# TensorRT, then the other dependencies, then Yiwen's own code, so that a change of the code moves a megabyte.

# Any image with Python 3.10 to 3.13 as python3; by digest (NAME@sha256:...) for builds that can be repeated.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm
# Where the environment is made: the same Python at the same path, with its modules venv and ensurepip.
ARG BUILD_IMAGE=${PYTHON_IMAGE}


FROM ${BUILD_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off PIP_ROOT_USER_ACTION=ignore
# pip stays beside the environment and does not come along.
RUN python3 -m venv /build/pip && python3 -m venv --without-pip /opt/yiwen
COPY scripts/prune-environment /build/prune-environment
WORKDIR /build/yiwen

FROM build AS project
COPY pyproject.toml README.md LICENSE ./
COPY cli cli
COPY documents documents
COPY inferenceservices inferenceservices
COPY knative knative
COPY predictor predictor
COPY protocol protocol
COPY recipes recipes
COPY serving serving
COPY transformer transformer
RUN /build/pip/bin/pip --python /opt/yiwen/bin/python install --no-deps . \
    && find /opt/yiwen -mindepth 1 -maxdepth 1 ! -name lib ! -name bin -exec rm -r {} + \
    && find /opt/yiwen/bin -mindepth 1 ! -name yiwen -delete

# What requirements/ locks: versions and hashes, so that two builds of one revision hold the same.
FROM build AS transformer-dependencies
COPY requirements/transformer.txt requirements.txt
RUN /build/pip/bin/pip --python /opt/yiwen/bin/python install --require-hashes -r requirements.txt \
    && /build/prune-environment /opt/yiwen

FROM build AS predictor-dependencies
COPY requirements/predictor.txt requirements.txt
RUN /build/pip/bin/pip --python /opt/yiwen/bin/python install --require-hashes -r requirements.txt \
    && /build/prune-environment /opt/yiwen

FROM build AS builder-dependencies
COPY requirements/cpu.txt requirements.txt
RUN /build/pip/bin/pip --python /opt/yiwen/bin/python install --require-hashes -r requirements.txt \
    && /build/prune-environment /opt/yiwen

# The libraries come from NVIDIA's own package index. Empty: a builder of releases that makes no plans.
FROM build AS tensorrt
ARG TENSORRT="tensorrt-cu13==11.4.0.106 cuda-python==13.4.4 nvidia-cuda-nvrtc==13.4.92"
RUN if [ -n "${TENSORRT}" ]; then /build/pip/bin/pip --python /opt/yiwen/bin/python install ${TENSORRT}; fi \
    && find /opt/yiwen -mindepth 1 -maxdepth 1 ! -name lib -exec rm -r {} +


FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="Yiwen" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The user that the manifests name.
RUN groupadd --gid 10001 yiwen \
    && useradd --uid 10001 --gid yiwen --no-create-home --home-dir /tmp --shell /usr/sbin/nologin yiwen
# Nothing is written but below /tmp, and Python takes no module from where it happens to be started.
ENV PATH=/opt/yiwen/bin:${PATH} HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1 YIWEN_REVISION=${REVISION}
WORKDIR /opt/yiwen
USER 10001:10001

FROM runtime AS transformer
LABEL org.opencontainers.image.title="yiwen-transformer" \
      org.opencontainers.image.description="Yiwen's transformer: text in, text out"
COPY --from=transformer-dependencies /opt/yiwen /opt/yiwen
COPY --from=project /opt/yiwen /opt/yiwen
EXPOSE 8080 8081
ENTRYPOINT ["python", "-m", "transformer"]

FROM runtime AS predictor-cpu
LABEL org.opencontainers.image.title="yiwen-predictor-cpu" \
      org.opencontainers.image.description="Yiwen's predictor: token ids in, token ids out, with ONNX Runtime"
COPY --from=predictor-dependencies /opt/yiwen /opt/yiwen
COPY --from=project /opt/yiwen/lib /opt/yiwen/lib
EXPOSE 8080 8081
ENTRYPOINT ["python", "-m", "predictor"]

FROM runtime AS predictor-tensorrt
LABEL org.opencontainers.image.title="yiwen-predictor-tensorrt" \
      org.opencontainers.image.description="Yiwen's predictor: token ids in, token ids out, with TensorRT"
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=tensorrt /opt/yiwen /opt/yiwen
COPY --from=predictor-dependencies /opt/yiwen /opt/yiwen
COPY --from=project /opt/yiwen/lib /opt/yiwen/lib
EXPOSE 8080 8081
ENTRYPOINT ["python", "-m", "predictor"]

FROM runtime AS builder
LABEL org.opencontainers.image.title="yiwen-builder" \
      org.opencontainers.image.description="The yiwen command: builds, checks and plans releases"
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=tensorrt /opt/yiwen /opt/yiwen
COPY --from=builder-dependencies /opt/yiwen /opt/yiwen
COPY --from=project /opt/yiwen /opt/yiwen
ENTRYPOINT ["yiwen"]
