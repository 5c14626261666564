# A stand-in for python:X.Y-slim-SUITE where no registry answers, of a Python that is installed on the machine that builds
# (docs/bootstrap.md). python.tar in the named context `prefix` is that Python, as torchdev/prefix.py packs it.
#
#   DEBIAN    the base image, itself bootstrapped
#   VERSION   the Python series, such as 3.8

ARG DEBIAN=debian:bookworm-slim

# hadolint ignore=DL3006
FROM ${DEBIAN} AS runtime
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# The libraries that CPython's extension modules load, as in the official slim image.
# hadolint ignore=DL3008
RUN --mount=type=secret,id=ca --mount=type=secret,id=proxies \
    if [ -e /run/secrets/proxies ]; then . /run/secrets/proxies; fi; \
    if [ -e /run/secrets/ca ]; then echo 'Acquire::https::CAInfo "/run/secrets/ca";' > /tmp/apt.conf; export APT_CONFIG=/tmp/apt.conf; fi; \
    apt-get update -qq; \
    apt-get install -y -qq --no-install-recommends \
        @LIBRARIES@ > /dev/null; \
    rm -rf /var/lib/apt/lists/* /var/cache/ldconfig/aux-cache /var/log/* /tmp/apt.conf

FROM runtime AS made
ARG VERSION
# hadolint ignore=DL3008
RUN --mount=type=secret,id=ca --mount=type=secret,id=proxies \
    if [ -e /run/secrets/proxies ]; then . /run/secrets/proxies; fi; \
    if [ -e /run/secrets/ca ]; then echo 'Acquire::https::CAInfo "/run/secrets/ca";' > /etc/apt/apt.conf.d/99ca; fi; \
    apt-get update -qq; \
    apt-get install -y -qq --no-install-recommends binutils patchelf > /dev/null
RUN --mount=type=bind,from=prefix,target=/prefix --mount=type=bind,source=.,target=/bootstrap \
    /bootstrap/install-prefix "${VERSION}" /prefix/python.tar

FROM runtime
ARG VERSION
COPY --from=made /usr/local /usr/local
RUN --mount=type=bind,source=.,target=/bootstrap \
    ldconfig; \
    /bootstrap/check-libraries /usr/local; \
    /usr/local/bin/python3 -B /bootstrap/check-python "${VERSION}"; \
    rm -f /var/cache/ldconfig/aux-cache
CMD ["python3"]
