# A stand-in for python:X.Y-slim-bookworm where no registry answers (docs/bootstrap.md).
#
# CPython is compiled into /usr/local from Debian's source package, as upstream wrote it plus Debian's
# fixes for security and crashes. Debian's other patches move files to places that only suit Debian's
# own interpreter (dist-packages, no ensurepip), so they are left out.
#
#   DEBIAN    the base image, itself bootstrapped
#   VERSION   the Python series, such as 3.11
#   SUITES    the Debian suites that may name its source, of which the newest is taken: "bookworm-security bookworm"
#   PINNED    a source package to take if none of them has it: "python3.11_3.11.2-6.dsc SHA256"
#   HAD       the version that the stand-in had before: an older one is refused

ARG DEBIAN=debian:bookworm-slim

FROM ${DEBIAN} AS fetch
ARG VERSION
ARG SUITES
ARG PINNED=
ARG HAD=
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
RUN --mount=type=bind,source=fetch-source,target=/fetch-source --mount=type=secret,id=ca --mount=type=secret,id=proxies \
    if [ -e /run/secrets/proxies ]; then . /run/secrets/proxies; fi; \
    if [ -e /run/secrets/ca ]; then echo 'Acquire::https::CAInfo "/run/secrets/ca";' > /etc/apt/apt.conf.d/99ca; fi; \
    /fetch-source "${VERSION}" "${PINNED}" "${HAD}" ${SUITES}

# What was named and what was taken, for those who build: the image gets it as labels.
FROM scratch AS source
COPY --from=fetch /src/source /

FROM ${DEBIAN} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN --mount=type=secret,id=ca --mount=type=secret,id=proxies \
    if [ -e /run/secrets/proxies ]; then . /run/secrets/proxies; fi; \
    if [ -e /run/secrets/ca ]; then echo 'Acquire::https::CAInfo "/run/secrets/ca";' > /etc/apt/apt.conf.d/99ca; fi; \
    apt-get update -qq; \
    apt-get install -y -qq --no-install-recommends \
        dpkg-dev gcc libbz2-dev libc6-dev libdb-dev libexpat1-dev libffi-dev libgdbm-dev liblzma-dev libncursesw5-dev \
        libnsl-dev libreadline-dev libsqlite3-dev libssl-dev libtirpc-dev make patch pkg-config uuid-dev \
        xz-utils zlib1g-dev > /dev/null
WORKDIR /src
COPY --from=fetch /src /src
# One fix uses a private header in pyexpat, which Debian compiles as a part of the interpreter.
# hadolint ignore=DL3003
RUN dpkg-source --skip-patches -x ./*.dsc tree > /dev/null; \
    cd tree || exit; \
    { grep -Ei 'cve|gh-[0-9]+|bpo-[0-9]+|crash|deadlock|dereference|leak|use-after-free' debian/patches/series || true; } \
        | grep -v -e '^#' -e '-tests-' > /tmp/fixes || true; \
    while read -r name; do patch -p1 -s -i "debian/patches/$name"; done < /tmp/fixes; \
    if grep -q pycore_ Modules/pyexpat.c && [ -e setup.py ]; then \
        sed -i "s/Extension('pyexpat', /&extra_compile_args=['-DPy_BUILD_CORE_MODULE'], /" setup.py; \
    fi
WORKDIR /src/tree
# Debian took the bundled copy of expat out of some of its source packages.
RUN ./configure --quiet --build="$(dpkg-architecture --query DEB_BUILD_GNU_TYPE)" \
        --enable-loadable-sqlite-extensions --enable-option-checking=fatal --enable-shared --with-ensurepip \
        --with-system-expat \
        LDFLAGS='-Wl,--strip-all'; \
    make -s -j "$(nproc)" > /tmp/make.log 2>&1 || { tail -40 /tmp/make.log; exit 1; }; \
    make -s install > /tmp/install.log 2>&1 || { tail -40 /tmp/install.log; exit 1; }; \
    ldconfig; \
    for tool in idle pydoc python; do ln -s "${tool}3" "/usr/local/bin/$tool"; done; \
    ln -s python3-config /usr/local/bin/python-config; \
    [ -e /usr/local/bin/pip ] || ln -s pip3 /usr/local/bin/pip; \
    find /usr/local -depth \( \
        \( -type d -a \( -name test -o -name tests -o -name idle_test \) \) \
        -o \( -type f -a \( -name '*.pyc' -o -name '*.pyo' -o -name 'libpython*.a' \) \) \
    \) -exec rm -rf '{}' +; \
    python3 -c 'import _ctypes, _curses, _dbm, _decimal, _gdbm, _hashlib, _lzma, _sqlite3, _ssl, _uuid, bz2, pyexpat, readline, zlib'

# hadolint ignore=DL3006
FROM ${DEBIAN}
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
COPY --from=build /usr/local /usr/local
COPY --from=fetch /src/source /usr/local/share/torchdev/python-source
RUN ldconfig && rm -f /var/cache/ldconfig/aux-cache
CMD ["python3"]
